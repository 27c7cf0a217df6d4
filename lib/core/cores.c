/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How many cores this process may use: its affinity mask, and the CPU quota of its control group
 * and of every group above it. In a container the group's own path is often not visible under
 * the mount point; the walk upwards then ends at the root, where the container's quota is.
 */
#include "core/core.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

static int min_quota(int a, int b)
{
    if (a == 0 || b == 0) {
        return a + b;
    }
    return a < b ? a : b;
}

/* Cores of a quota of `quota` in every `period`; 0: none. */
static int quota_cores(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) {
        return 0;
    }
    const long long cores = quota / period;
    if (cores < 1) {
        return 1;
    }
    return cores < INT16_MAX ? (int)cores : INT16_MAX;
}

/* The start of a small file, "" where it cannot be read. */
static void read_start(const char *folder, const char *name, char *text, int size)
{
    char path[PATH_SIZE + 64];
    FILE *file;

    text[0] = '\0';
    mc_format(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "re");
    if (file == NULL) {
        return;
    }
    if (fgets(text, size, file) == NULL) {
        text[0] = '\0';
    }
    fclose(file);
}

/* Version 2: cpu.max is "quota period" or "max period". */
static int folder_quota_v2(const char *folder)
{
    char text[64];
    long long quota, period;

    read_start(folder, "cpu.max", text, sizeof(text));
    return sscanf(text, "%lld %lld", &quota, &period) == 2 ? quota_cores(quota, period) : 0;
}

/* Version 1: a quota of -1 is none. */
static int folder_quota_v1(const char *folder)
{
    char quota[64], period[64];

    read_start(folder, "cpu.cfs_quota_us", quota, sizeof(quota));
    read_start(folder, "cpu.cfs_period_us", period, sizeof(period));
    return quota_cores(atoll(quota), atoll(period));
}

/* Least quota of the group `group` ("/a/b") of a hierarchy and of all groups above it. */
static int group_quota(const char *mount, const char *hierarchy, const char *group,
                       int (*folder_quota)(const char *folder))
{
    char folder[PATH_SIZE];
    int least = 0;
    const int root = mc_format(folder, sizeof(folder), "%s%s", mount, hierarchy);
    const int length = mc_format(folder, sizeof(folder), "%s%s%s", mount, hierarchy, group);

    if (root < 0 || length < root || length >= PATH_SIZE) {
        return 0;
    }
    while (true) {
        char *slash;
        least = min_quota(least, folder_quota(folder));
        slash = strrchr(folder, '/');
        if (slash == NULL || slash - folder < root) {
            return least;
        }
        *slash = '\0';
    }
}

/* Whether a list "cpu,cpuacct" has "cpu". */
static bool has_cpu(const char *controllers)
{
    while (true) {
        const size_t length = strcspn(controllers, ",");
        if (length == 3 && memcmp(controllers, "cpu", 3) == 0) {
            return true;
        }
        if (controllers[length] == '\0') {
            return false;
        }
        controllers += length + 1;
    }
}

/* One line of the membership file, "number:controllers:group"; version 2 has no controllers. */
static int line_quota(char *line, const char *mount)
{
    char *controllers, *group;
    char hierarchy[64];

    line[strcspn(line, "\n")] = '\0';
    controllers = strchr(line, ':');
    group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL) {
        return 0;
    }
    *controllers++ = '\0';
    *group++ = '\0';
    if (*controllers == '\0') {
        return min_quota(group_quota(mount, "", group, folder_quota_v2),
                         group_quota(mount, "/unified", group, folder_quota_v2));
    }
    if (!has_cpu(controllers) || strlen(controllers) + 2 > sizeof(hierarchy)) {
        return 0;
    }
    mc_format(hierarchy, sizeof(hierarchy), "/%s", controllers);
    return min_quota(group_quota(mount, hierarchy, group, folder_quota_v1),
                     group_quota(mount, "/cpu", group, folder_quota_v1));
}

int mc_cgroup_cores(const char *membership, const char *mount)
{
    char line[PATH_SIZE];
    int least = 0;
    FILE *file = fopen(membership, "re");

    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        least = min_quota(least, line_quota(line, mount));
    }
    fclose(file);
    return least;
}

/* Cores of the affinity mask. The kernel's mask may be longer than cpu_set_t: then the call
 * fails until enough room is given. */
static int affinity_cores(void)
{
    enum { MOST = 1 << 18 };

    for (int cpus = 1024; cpus <= MOST; cpus *= 2) {
        cpu_set_t *mask = CPU_ALLOC((size_t)cpus);
        const size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int count = 0;
        if (mask == NULL) {
            return 1;
        }
        if (sched_getaffinity(0, size, mask) == 0) {
            count = CPU_COUNT_S(size, mask);
        }
        CPU_FREE(mask);
        if (count > 0) {
            return count;
        }
    }
    return 1;
}

int mc_available_cores(void)
{
    return min_quota(affinity_cores(), mc_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup"));
}
