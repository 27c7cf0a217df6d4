#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""report.py BENCH_JSON [DOCUMENT [MARK]]: the benchmark's result as text, or, with a document such
as docs/performance.md, as Markdown between its marks <!-- bench: begin --> / <!-- bench: end --> and
<!-- profile: begin --> / <!-- profile: end -->; with MARK the table alone, between marks of that name.
"""
import json
import re
import sys

COLUMNS = ("job", "ours", "PyTorch", "ratio (min..max)", "at least", "GFLOP/s", "of peak",
           "PyTorch's format")
WIDTHS = (61, 15, 15, 19, 8, 11, 11, 0)
DISTURBED = 0.05  # share of the processors that others may take before a row is marked
F4_SAVING = 4  # multiplications of direct convolution over those of F(4x4,3x3)


def figure(value, unit):
    text = "%.0f" % value if value >= 100 else "%.3g" % value
    return "%s %s" % (text, unit)


def rate_of(row, side):
    """Work per second, from a figure that may be a time."""
    value = row[side]["median"]
    if row["unit"] == "s":
        return 1 / value
    return value / row["items"]


def cells(row, peak):
    """The columns of one row, as text."""
    theirs, ratio = row.get("theirs"), row.get("ratio")
    gflops = share = ""
    if row.get("flop"):
        values = [rate_of(row, "ours") * row["flop"] * 1e-9]
        if theirs:
            values.append(rate_of(row, "theirs") * row["peer_flop"] * 1e-9)
        gflops = " / ".join("%.0f" % value for value in values)
        share = " / ".join("%.0f%%" % (100 * value / peak) for value in values)
    goal = "%g" % row["goal"] if row.get("goal") else ""
    if row.get("most"):
        goal = "<= %g" % row["most"]
    spread = ""
    if ratio:
        spread = "%.2f" % ratio["median"]
        if ratio["max"] > ratio["min"]:
            spread += " (%.2f..%.2f)" % (ratio["min"], ratio["max"])
    told = figure(theirs["median"], row["unit"]) if theirs else ""
    if row.get("scaling"):
        told = "one: " + told
    label = row["label"] + (" (!)" if row.get("disturbed", 0) > DISTURBED else "")
    return (label, figure(row["ours"]["median"], row["unit"]), told, spread, goal, gflops,
            share, row.get("peer_format") or "")


def padded(values):
    return "  ".join(value.ljust(width) for value, width in zip(values, WIDTHS)).rstrip()


def heading():
    return padded(COLUMNS)


def line(row, peak):
    return padded(cells(row, peak))


def facts(result):
    """Machine, versions and command, line by line."""
    machine, ours, peer = result["machine"], result["ours"], result["peer"]
    settings, peak = result["settings"], result["peak"]
    lines = ["%s, %d processors, Linux %s; load average %.1f before the run." % (
        machine["processor"], machine["processors"], machine["kernel"], machine["load_before"])]
    lines.append("FMA peak of %d threads: %.0f GFLOP/s (%s), measured at the other end of the run "
                 "%.0f." % (peak["threads"], peak["gflops"], peak["isa"],
                            result["peak_after"]["gflops"]))
    lines.append("libmodeconn %s, %s, BLIS %s (%s), instruction set %s." % (
        ours["version"], ours["compiler"], ours["blis"]["version"], ours["blis"]["kernel"],
        ours["isa"]))
    if peer:
        tried = ", ".join("%s %.0f" % (short(name), rate)
                          for name, rate in peer["blas_tried"].items())
        lines.append("PyTorch %s, oneDNN %s (%s), %d threads, BLAS: %s%s." % (
            peer["torch"], peer["onednn"], "on" if peer["mkldnn_enabled"] else "off",
            peer["threads"], short(peer["blas"]),
            " (MLP, samples/s when choosing: %s)" % tried if tried else ""))
    else:
        lines.append("PyTorch: not measured.")
    lines.append("`%s` on %s, %d pairs, %d threads, %d s in all." % (
        settings["command"], result["date"], settings["pairs"], settings["threads"],
        result["seconds"]))
    if any(row.get("disturbed", 0) > DISTURBED for row in result["rows"]):
        lines.append("(!): other processes took more than %.0f %% of the processors meanwhile: "
                     "measure again." % (100 * DISTURBED))
    return lines


def short(folder):
    return folder.rsplit("/", 1)[-1]


def text(result):
    peak = result["peak"]["gflops"]
    lines = [line(row, peak) for row in result["rows"]]
    body = "\n".join(["", *facts(result), "", heading(), *lines])
    for name, profile in result.get("profile", {}).items():
        body += "\n\n" + "\n".join(profile_text(name, profile, peak))
    return body


# ---- profile -------------------------------------------------------------------------------------

def groups(profile):
    """Layers of one kind and shape together: [label, count, forward, backward, flop]. A layer
    whose work another does (a fused ReLU) takes no time and is left out."""
    found = {}
    for layer in profile["layers"]:
        took = layer["forward"] + layer["backward"]
        if took < 1e-3 * profile["seconds"] and layer["type"] not in ("conv2d", "batch_norm"):
            label = "small layers"
        elif layer["type"] == "conv2d":
            label = "conv %dx%d/%d, %d to %d, %dx%d" % (
                layer["kernel"], layer["kernel"], layer["stride"], layer["in"][0],
                layer["out"][0], layer["out"][1], layer["out"][2])
        elif layer["type"] == "linear":
            label = "linear"
        else:
            label = layer["type"]
        group = found.setdefault(label, [label, 0, 0.0, 0.0, 0.0, 0.0])
        group[1] += 1
        for i, key in enumerate(("forward", "backward", "forward_flop", "backward_flop"), 2):
            group[i] += layer[key]
    return list(found.values())


def profile_rows(profile, peak):
    """(what, forward ms, backward ms, share of the step, GFLOP/s, share of the F(4x4) limit)."""
    rows, total = [], profile["seconds"]
    for label, count, forward, backward, work, work_back in groups(profile):
        took = forward + backward
        large = work and took and label != "small layers"
        rate = (work + work_back) / took * 1e-9 if large else 0
        limit = "%.0f%%" % (100 * rate / (F4_SAVING * peak)) if label.startswith("conv 3x3/1") \
            else ""
        rows.append(("%s%s" % (label, " (%d of them)" % count if count > 1 else ""),
                     "%.1f" % (1000 * forward), "%.1f" % (1000 * backward),
                     "%.1f%%" % (100 * took / total), "%.0f" % rate if rate else "", limit))
    names = {"gather": "drawing the batch", "bind": "taking the parameters",
             "update": "SGD",
             "beside_layers": "loss, layouts, running statistics, velocity of large models"}
    for key, name in names.items():
        took = profile["parts"][key]
        rows.append((name, "", "%.1f" % (1000 * took), "%.1f%%" % (100 * took / total), "", ""))
    return rows


PROFILE_COLUMNS = ("part of the step", "forward, ms", "backward, ms", "share", "GFLOP/s",
                   "of F(4x4) limit")


def profile_title(name, profile):
    from jobs import NAMES
    return "%s, batch 128: %.0f ms a step" % (NAMES[name], 1000 * profile["seconds"])


def profile_text(name, profile, peak):
    widths = (44, 12, 13, 7, 8, 0)
    lines = [profile_title(name, profile)]
    for values in [PROFILE_COLUMNS, *profile_rows(profile, peak)]:
        lines.append("  ".join(v.ljust(w) for v, w in zip(values, widths)).rstrip())
    return lines


# ---- Markdown ------------------------------------------------------------------------------------

def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(values) + " |" for values in rows]


def bench_markdown(result):
    peak = result["peak"]["gflops"]
    rows = [cells(row, peak) for row in result["rows"]]
    return "\n".join([*("- " + fact for fact in facts(result)), "", *table(COLUMNS, rows)])


def profile_markdown(result):
    peak = result["peak"]["gflops"]
    parts = []
    for name, profile in result.get("profile", {}).items():
        parts += [profile_title(name, profile) + ":", "",
                  *table(PROFILE_COLUMNS, profile_rows(profile, peak)), ""]
    return "\n".join(parts).rstrip()


def fill(document, mark, body):
    begin, end = "<!-- %s: begin -->" % mark, "<!-- %s: end -->" % mark
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(document):
        raise SystemExit("no %s ... %s" % (begin, end))
    return pattern.sub(lambda _: "%s\n%s\n%s" % (begin, body, end), document)


def main():
    if len(sys.argv) not in (2, 3, 4):
        raise SystemExit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    if len(sys.argv) == 2:
        print(text(result))
        return
    with open(sys.argv[2], encoding="utf-8") as file:
        document = file.read()
    mark = sys.argv[3] if len(sys.argv) == 4 else "bench"
    document = fill(document, mark, bench_markdown(result))
    if mark == "bench" and result.get("profile"):
        document = fill(document, "profile", profile_markdown(result))
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(document)


if __name__ == "__main__":
    main()
