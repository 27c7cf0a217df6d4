#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench.py BUILD_DIR: measures the jobs of jobs.py on this machine, beside PyTorch where some
python3 has it, prints a table, writes JSON. docs/performance.md explains what the figures mean.

No time decides pass or fail: the exit status is 0 unless something could not be run.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import jobs
import report

HERE = os.path.dirname(os.path.abspath(__file__))
# Settings of one BLAS for one machine are not the peer's best on another.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "BLIS_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                    "MKL_NUM_THREADS")


def say(text):
    print(text, file=sys.stderr, flush=True)


class Side:
    """A process that answers requests, one JSON object a line, and stays alive."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=env)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("%s ended with status %d" % (self.process.args,
                                                            self.process.wait()))
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError("%s: %s" % (request, reply["error"]))
        return reply

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_seconds(path):
    """Processor time of a /proc/.../stat: of one process, or all time that was not idle."""
    with open(path, encoding="utf-8") as file:
        line = file.readline()
    if path == "/proc/stat":
        user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
        ticks = user + nice + system + irq + softirq + steal
    else:
        ticks = sum(map(int, line.rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Others:
    """How much of the processors others took, between its creation and share()."""

    def __init__(self, *sides):
        self.stats = ["/proc/%d/stat" % side.process.pid for side in sides if side]
        self.started, self.before = time.monotonic(), self.seconds()

    def seconds(self):
        own = sum(os.times()[:2]) + sum(map(cpu_seconds, self.stats))
        return cpu_seconds("/proc/stat") - own

    def share(self):
        elapsed = (time.monotonic() - self.started) * os.cpu_count()
        return max(0.0, (self.seconds() - self.before) / elapsed)


# ---- the peer ------------------------------------------------------------------------------------

# Debian's PyTorch multiplies through libblas.so.3; others, PyPI's for example, bring their BLAS.
PROBE = "import torch; print(any('/libblas.so' in line for line in open('/proc/self/maps')))"


def find_python(wanted):
    """The first interpreter that can import torch, and whether its BLAS can be replaced."""
    for program in [wanted] if wanted else ["/usr/bin/python3", sys.executable]:
        found = subprocess.run([program, "-c", PROBE], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.DEVNULL, check=False) if shutil.which(program) \
            else None
        if found and found.returncode == 0:
            return program, found.stdout.strip() == "True"
    if wanted:
        sys.exit("bench.py: --python %s: no interpreter that can import torch" % wanted)
    return None, False


# Pages of 2 MiB for large blocks, as the library asks for itself: of glibc, and of newer PyTorch.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "THP_MEM_ALLOC_ENABLE": "1"}


def peer_environment(threads, blas, fast):
    """`fast`: with what speed gains by, at the price of memory."""
    env = {key: value for key, value in os.environ.items() if key not in UNSET}
    env.update({variable: str(threads) for variable in THREAD_VARIABLES})
    if blas:
        old = env.get("LD_LIBRARY_PATH")
        env["LD_LIBRARY_PATH"] = blas + (":" + old if old else "")
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return {**(HUGE_PAGES if fast else {}), **env}


def blas_folders():
    """Folders with a libblas.so.3 that Debian's PyTorch can be pointed to, and "" for what the
    machine has chosen where that is none of them. The reference BLAS is 35 times slower: no
    contestant where there is another."""
    found = []
    for pattern in ("blis-*", "openblas-*", "atlas"):
        found += [os.path.dirname(path)
                  for path in sorted(glob.glob("/usr/lib/*/%s/libblas.so.3" % pattern))]
    known = {os.path.realpath(os.path.join(folder, "libblas.so.3")) for folder in found}
    chosen = glob.glob("/usr/lib/*/libblas.so.3")
    if all(os.path.realpath(path) not in known for path in chosen):
        found.append("")
    return found


class Peer:
    def __init__(self, python, threads, blas):
        self.python, self.threads, self.blas = python, threads, blas
        self.side = self.start(True)

    def start(self, fast):
        return Side([self.python, os.path.join(HERE, "peer.py")],
                    peer_environment(self.threads, self.blas, fast))

    def fresh(self):
        """A process whose memory or start is measured."""
        return self.start(False)


def best_peer(python, threads, folders, data, seconds):
    """The peer on the BLAS that trains the MLP fastest, and what each gave."""
    if len(folders) == 1:
        return Peer(python, threads, folders[0]), {}
    settings = dict(jobs.train("mlp", 128, None, shape=(1, 28, 28))["settings"], **data,
                    threads=threads)
    tried, best = {}, None
    for folder in folders:
        peer = Peer(python, threads, folder)
        number = peer.side.ask(op="open", **settings)["id"]
        steps = steps_for(peer.side, number, seconds)
        rate = max(128 * steps / peer.side.ask(op="run", id=number, steps=steps)["seconds"]
                   for _ in range(3))
        peer.side.ask(op="close", id=number)
        tried[folder or "as configured"] = rate
        if best is None or rate > tried[best.blas or "as configured"]:
            best, peer = peer, best
        if peer:
            peer.side.end()
    return best, tried


# ---- measuring -----------------------------------------------------------------------------------

def steps_for(side, number, seconds):
    """Steps that take about that long, after warming up."""
    steps = 1
    if side.ask(op="run", id=number, steps=1)["seconds"] > seconds:
        return steps
    while True:
        took = side.ask(op="run", id=number, steps=steps)["seconds"]
        if took > 0.2 * seconds:
            return max(1, round(steps * seconds / took))
        steps = max(2 * steps, int(steps * 0.5 * seconds / max(took, 1e-6)))


class Runner:
    """One open job on one side, warm; a long one warms up as it runs."""

    def __init__(self, side, settings, job, seconds):
        opened = side.ask(op="open", **settings)
        self.side, self.number, self.items = side, opened["id"], job["items"]
        self.parameters, self.steps, self.rates = opened["parameters"], 1, []
        if not job.get("whole"):
            self.steps = steps_for(side, self.number, seconds)
        self.warm = None if job.get("trial") else self.time_one()

    def time_one(self):
        took = self.side.ask(op="run", id=self.number, steps=self.steps)["seconds"]
        return self.items * self.steps / took

    def measure(self):
        self.rates.append(self.time_one())

    def close(self):
        self.side.ask(op="close", id=self.number)


class Together:
    """A job in several processes of one thread at once, which share nothing but the machine: the
    sum of their rates is what it has to give to as many threads."""

    def __init__(self, command, count, settings, job, seconds):
        self.runners = [Runner(Side(command), dict(settings, threads=1), job, seconds)
                        for _ in range(count)]
        self.sides = [runner.side for runner in self.runners]
        for runner in self.runners:
            runner.steps = self.runners[0].steps  # or one would have the machine for itself
        self.rates = []

    def measure(self):
        with concurrent.futures.ThreadPoolExecutor(len(self.runners)) as pool:
            self.rates.append(sum(pool.map(Runner.time_one, self.runners)))

    def close(self):
        for side in self.sides:
            side.end()


def best_format(peer, job, settings, seconds, formats):
    """The peer's runner in the format that is fastest for this job, warm, and each one's rate. A long
    job is tried by a short one."""
    if job.get("trial"):
        trial = dict(settings, **job["trial"]["settings"])
        runner, tried = best_format(peer, job["trial"], trial, seconds, formats)
        runner.close()
        name = runner.format
        runner = Runner(peer.side, dict(settings, format=name), job, seconds)
        runner.format = name
        return runner, tried
    tried, best = {}, None
    for name in formats:
        runner = Runner(peer.side, dict(settings, format=name), job, seconds)
        tried[name] = runner.warm
        if best is None or tried[name] > tried[best.format]:
            runner.format, best, runner = name, runner, best
        if runner:
            runner.close()
    return best, tried


def summary(rates):
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def row(key, label, unit, goal, ours, theirs=None, **more):
    """Figures of one line of the table. `ours` and `theirs` are rates pair by pair; a time is the
    inverse of a rate."""
    result = {"key": key, "label": label, "unit": unit, "goal": goal, **more}
    for name, rates in (("ours", ours), ("theirs", theirs)):
        if rates:
            result[name] = summary([1 / r for r in rates] if unit == "s" else rates)
    if theirs:
        result["ratio"] = summary([a / b for a, b in zip(ours, theirs)])
    return result


def measure_job(job, ours, peer, options, data):
    """The rows of one job, pairs interleaved: ours, theirs, ours, theirs ... What has a row beside
    the job's own takes part in the same rounds."""
    settings = dict(job["settings"], **data, threads=options.threads)

    def mine(**changes):
        return Runner(ours, dict(settings, **changes), job, options.seconds)

    def peers(formats):
        runner, tried = best_format(peer, job, settings, options.seconds, formats)
        if runner.parameters != own.parameters:
            raise RuntimeError("%s: %d parameters here, %d there" % (
                job["key"], own.parameters, runner.parameters))
        return runner, {"peer_format": runner.format, "peer_tried": tried}

    own = mine()
    bound = mine(job="bound") if job.get("bound") else None
    scaling = job.get("scaling_goal") and options.threads > 1
    single = mine(threads=1) if scaling else None
    together = Together(ours.process.args, options.threads, settings, job,
                        options.seconds) if scaling else None
    theirs, named = peers(job["formats"]) if peer else (None, {})
    script, script_named = peers(job["optimised"]) if peer and job.get("optimised") else (None, {})
    runners = [runner for runner in (own, theirs, bound, script, single, together) if runner]
    others = Others(ours, peer.side if peer else None, *(together.sides if together else []))
    for _ in range(options.pairs):
        for runner in runners:
            runner.measure()
    disturbed = others.share()
    for runner in runners:
        runner.close()

    facts = {"flop": job["flop"], "peer_flop": job["peer_flop"], "items": job["items"],
             "disturbed": disturbed}
    rates = theirs.rates if theirs else None
    label, unit = job["label"], job["unit"]
    rows = [row(job["key"], label, unit, job["goal"], own.rates, rates, **facts, **named)]
    if bound:
        rows.append(row(job["key"] + "-bound", label + ", bound once", unit, None, bound.rates,
                        rates, **facts, **named))
    if script:
        rows.append(row(job["key"] + "-script", label + ", both prepared", unit, None,
                        bound.rates, script.rates, **facts, **script_named))
    if scaling:
        one = dict(facts, peer_flop=job["flop"], scaling=True)
        rows.append(row(job["key"] + "-scaling",
                        "%s, %d threads over one" % (label, options.threads), unit,
                        job["scaling_goal"] if options.threads == 2 else None, own.rates,
                        single.rates, **one))
        rows.append(row(job["key"] + "-processes",
                        "%s, %d processes at once over one" % (label, options.threads), unit,
                        None, together.rates, single.rates, **one))
    return rows


def measure_memory(arch, build, peer, options, data):
    """VmHWM of fresh processes after three training steps at batch 128 of 1,280 images, kept as
    bytes on both sides; the peer's format is the one that needs less."""
    job = jobs.train(arch, 128, None)
    settings = dict(job["settings"], **data, threads=options.threads, store="uint8", n=1280)

    def peak(side, **more):
        number = side.ask(op="open", **settings, **more)["id"]
        side.ask(op="run", id=number, steps=3)
        kb = side.ask(op="memory")["peak_kb"]
        side.end()
        return kb / 1024

    result = {"key": "memory-" + arch, "unit": "MB", "goal": 2.0,
              "label": "%s, peak memory, training, batch 128" % jobs.NAMES[arch]}
    own = peak(Side([os.path.join(build, "bench_jobs")]))
    result["ours"] = summary([own])
    if peer:
        tried = {name: peak(peer.fresh(), format=name) for name in job["formats"]}
        name = min(tried, key=tried.get)
        result.update(theirs=summary([tried[name]]), peer_format=name, peer_tried=tried,
                      ratio=summary([tried[name] / own]))
    return result


def measure_start(build, library, peer, options):
    """Fresh processes: loading, context and VGG-13; the peer's import and VGG-13."""
    def ours(what, path):
        times = []
        for _ in range(max(5, options.pairs)):
            told = subprocess.run([os.path.join(build, "bench_start"), what, path], check=True,
                                  text=True, stdout=subprocess.PIPE).stdout
            times.append(1000 * json.loads(told)["seconds"])
        return summary(times)

    theirs = []
    shape = {"arch": "vgg13", "width": 1, "shape": [3, 32, 32]}
    for _ in range(3 if peer else 0):
        side = peer.fresh()
        theirs.append(1000 * (side.ask(op="info")["import_seconds"] +
                              side.ask(op="create", **shape)["seconds"]))
        side.end()
    module = os.path.join(build, "bench_start_module.so")
    size = os.path.getsize(os.path.realpath(library)) / 2**20
    rows = [{"key": "start-without", "unit": "ms", "most": 20, "ours": ours("without", module),
             "label": "load, context, VGG-13 without initial weights"},
            {"key": "start-with", "unit": "ms", "most": 100, "ours": ours("with", library),
             "label": "load, context, VGG-13 with initial weights"},
            {"key": "size", "unit": "MB", "most": 2, "ours": summary([size]),
             "label": "size of the shared object"}]
    if peer:
        rows[1]["theirs"] = summary(theirs)
        peer_size = peer.side.ask(op="info")["shared_object_bytes"] / 2**20
        rows[2]["theirs"] = summary([peer_size])
    for result in rows:
        if "theirs" in result:
            result["ratio"] = summary([result["theirs"]["median"] / result["ours"]["median"]])
    return rows


# ---- the run -------------------------------------------------------------------------------------

def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def peak(build, threads):
    told = subprocess.run([os.path.join(build, "bench_peak"), str(threads)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return json.loads(told)


def write_data(folder):
    """Bytes of images and labels that both sides read: noise, from a fixed seed."""
    source = random.Random(1)
    paths = {"images": os.path.join(folder, "images"), "labels": os.path.join(folder, "labels")}
    with open(paths["images"], "wb") as file:
        file.write(source.randbytes(jobs.IMAGES * 3 * 32 * 32))
    with open(paths["labels"], "wb") as file:
        file.write(bytes(byte % jobs.CLASSES for byte in source.randbytes(jobs.IMAGES)))
    return paths


def describe_peer(peer, tried, replaceable):
    told = peer.side.ask(op="info")
    blas = (peer.blas or "as configured") if replaceable else told["built_in_blas"]
    return dict(told, python=peer.python, threads=peer.threads, blas=blas, blas_tried=tried)


def profiles(ours, options, data):
    found = {}
    for arch in ("vgg13", "resnet18"):
        settings = dict(jobs.train(arch, 128, None)["settings"], **data, threads=options.threads)
        say("profile of %s" % jobs.NAMES[arch])
        found[arch] = ours.ask(op="profile", steps=2 if options.quick else 8, **settings)
    return found


def run(options, data):
    build = os.path.join(options.build, "tests", "bench")
    library = os.path.join(options.build, "lib", "libmodeconn.so")
    started, load = time.time(), os.getloadavg()[0]
    if load > 0.5:
        say("The machine is not idle (load average %.1f): figures will scatter." % load)
    ours = Side([os.path.join(build, "bench_jobs")])
    python, replaceable = (None, False) if options.no_peer else find_python(options.python)
    peer, tried = None, {}
    if python:
        say("choosing the peer's BLAS")
        folders = [""]
        if replaceable:
            folders = [options.blas] if options.blas else blas_folders()
        peer, tried = best_peer(python, options.threads, folders, data, 0.5 * options.seconds)
    elif not options.no_peer:
        say("No python3 here can import torch (Debian: python3-torch): only our side is measured.")

    result = {
        "date": time.strftime("%Y-%m-%d"), "machine": {
            "processor": processor(), "processors": os.cpu_count(), "load_before": load,
            "kernel": platform.release().split("-")[0]},
        "settings": {"pairs": options.pairs, "seconds": options.seconds,
                     "threads": options.threads, "command": options.command,
                     "only": options.only},
        "ours": ours.ask(op="info"),
        "peer": describe_peer(peer, tried, replaceable) if peer else None,
        "peak": peak(build, options.threads), "rows": []}

    def add(rows):
        for found in rows:
            result["rows"].append(found)
            say(report.line(found, result["peak"]["gflops"]))

    def wanted(key):
        return options.only in key

    say(report.heading())
    for job in jobs.table(options.quick, options.full):
        if wanted(job["key"]):
            add(measure_job(job, ours, peer, options, data))
    for arch in ("vgg13",) if options.quick else ("vgg13", "resnet18"):
        if wanted("memory-" + arch):
            add([measure_memory(arch, build, peer, options, data)])
    if wanted("start"):
        add(measure_start(build, library, peer, options))
    if wanted("profile"):
        result["profile"] = profiles(ours, options, data)
    # A machine that warms up or is shared shows it here.
    again = peak(build, options.threads)
    result["peak_after"] = again
    if again["gflops"] > result["peak"]["gflops"]:
        result["peak"], result["peak_after"] = again, result["peak"]
    ours.end()
    if peer:
        peer.side.end()
    result["seconds"] = round(time.time() - started)
    return result


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", help="build folder of Meson, with the target bench_programs built")
    parser.add_argument("--quick", action="store_true", help="two short pairs of smaller jobs")
    parser.add_argument("--full", action="store_true",
                        help="the path evaluation at 11 points and 10,000 + 2,000 images (a quarter of an "
                             "hour a pair)")
    parser.add_argument("--pairs", type=int, help="pairs a job; 5 unless --quick")
    parser.add_argument("--seconds", type=float, help="length of one measurement, about")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="only jobs whose key contains this, e.g. train-vgg13, memory, profile")
    parser.add_argument("--no-peer", action="store_true", help="our side alone")
    parser.add_argument("--python", metavar="PROGRAM",
                        help="interpreter that has torch, e.g. of a virtual environment; default: "
                             "the first of /usr/bin/python3 and python3 that has it")
    parser.add_argument("--blas", metavar="DIR",
                        help="folder of the libblas.so.3 of Debian's torch; default: the fastest is "
                             "found")
    parser.add_argument("--json", help="output; default BUILD/bench.json")
    options = parser.parse_args()
    options.pairs = options.pairs or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.3 if options.quick else 0.8)
    options.json = options.json or os.path.join(options.build, "bench.json")
    given = [word for word in sys.argv[1:] if word != options.build]
    options.command = "make bench" + (" BENCH_FLAGS='%s'" % " ".join(given) if given else "")
    return options


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, write_data(folder))
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    print(report.text(result))
    print("written: %s" % options.json)


if __name__ == "__main__":
    main()
