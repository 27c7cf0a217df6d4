/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Cores that this process may use: affinity, and made-up control group trees.
 */
#include "unit.h"
#include "core/core.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/modeconn-cores-XXXXXX";

static void make_root(void)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* Writes root/name, making the folders above it. */
static void put(const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static int quota(const char *membership)
{
    char file[128], mount[128];

    put("membership", membership);
    snprintf(file, sizeof(file), "%s/membership", root);
    snprintf(mount, sizeof(mount), "%s/mount", root);
    return mc_cgroup_cores(file, mount);
}

START_TEST(nothing_is_no_quota)
{
    ck_assert_int_eq(mc_cgroup_cores("/nonexistent/cgroup", root), 0);
    ck_assert_int_eq(quota(""), 0);
    ck_assert_int_eq(quota("0::/\n"), 0);
    ck_assert_int_eq(quota("rubbish\n:\n::\n1:cpu\n"), 0);
    put("mount/cpu.max", "max 100000\n");
    ck_assert_int_eq(quota("0::/\n"), 0);
    put("mount/cpu.max", "");
    ck_assert_int_eq(quota("0::/\n"), 0);
}
END_TEST

START_TEST(version_2_takes_the_least_upwards)
{
    put("mount/a/b/cpu.max", "350000 100000\n");
    ck_assert_int_eq(quota("0::/a/b\n"), 3);
    put("mount/a/cpu.max", "200000 100000\n");
    ck_assert_int_eq(quota("0::/a/b\n"), 2);
    put("mount/cpu.max", "50000 100000\n");
    ck_assert_int_eq(quota("0::/a/b\n"), 1);
    put("mount/cpu.max", "400000 100000\n");
    ck_assert_int_eq(quota("0::/not/visible/here\n"), 4);
    put("cpu.max", "100000 100000\n"); /* above the mount point: not ours */
    ck_assert_int_eq(quota("0::/a\n"), 2);
}
END_TEST

START_TEST(version_2_beside_version_1)
{
    put("mount/unified/g/cpu.max", "500000 100000\n");
    ck_assert_int_eq(quota("3:memory:/g\n0::/g\n"), 5);
}
END_TEST

START_TEST(version_1)
{
    put("mount/cpu,cpuacct/g/cpu.cfs_quota_us", "-1\n");
    put("mount/cpu,cpuacct/g/cpu.cfs_period_us", "100000\n");
    ck_assert_int_eq(quota("5:cpuset:/g\n4:cpu,cpuacct:/g\n"), 0);
    put("mount/cpu,cpuacct/g/cpu.cfs_quota_us", "600000\n");
    ck_assert_int_eq(quota("5:cpuset:/g\n4:cpu,cpuacct:/g\n"), 6);
    put("mount/cpu/h/cpu.cfs_quota_us", "700000\n");
    put("mount/cpu/h/cpu.cfs_period_us", "100000\n");
    ck_assert_int_eq(quota("4:cpu:/h/deeper\n"), 7);
    ck_assert_int_eq(quota("4:cpuacct,cpu:/h\n"), 7);
    ck_assert_int_eq(quota("4:cpuset:/h\n"), 0);
}
END_TEST

START_TEST(long_lines_do_no_harm)
{
    enum { SIZE = 10000 };
    char line[SIZE];

    memset(line, 'x', sizeof(line));
    memcpy(line, "0::/", 4);
    line[SIZE - 1] = '\0';
    put("mount/cpu.max", "300000 100000\n");
    ck_assert_int_ge(quota(line), 0);
}
END_TEST

START_TEST(affinity_is_respected)
{
    cpu_set_t before, one;
    size_t first = 0;

    ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
    const int cores = mc_available_cores();
    ck_assert_int_ge(cores, 1);
    ck_assert_int_le(cores, CPU_COUNT(&before));
    while (!CPU_ISSET(first, &before)) {
        first++;
    }
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
    ck_assert_int_eq(mc_available_cores(), 1);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_root, remove_root);
    tcase_add_test(tests, nothing_is_no_quota);
    tcase_add_test(tests, version_2_takes_the_least_upwards);
    tcase_add_test(tests, version_2_beside_version_1);
    tcase_add_test(tests, version_1);
    tcase_add_test(tests, long_lines_do_no_harm);
    tcase_add_test(tests, affinity_is_respected);
}

int main(void)
{
    return unit_run("core_cores", add);
}
