/* Figures of process and machine, from trees of files that look like /proc and /sys: cgroups of both versions, sensors,
 * what is missing, and numbers that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "ops/machine_watch.h"

typedef struct tree {
    char root[64];
    hd_machine_watch *watch;
    hd_buf page;
} tree;

static uint64_t now_ns = 5000000000u;

static uint64_t fake_clock(void)
{
    return now_ns;
}

/* Makes the file and the folders above it. */
static void put(const tree *t, const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", t->root, path);
    for (char *slash = full + strlen(t->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    tree *t = hd_calloc(1, sizeof *t);
    assert_non_null(t);
    snprintf(t->root, sizeof t->root, "/tmp/hadal-machine-XXXXXX");
    assert_non_null(mkdtemp(t->root));
    hd_buf_init(&t->page, (size_t)1 << 20);
    hd_clock_set(fake_clock, NULL);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    tree *t = *state;
    char command[128];
    hd_machine_watch_close(&t->watch);
    hd_clock_set(NULL, NULL);
    hd_buf_free(&t->page);
    snprintf(command, sizeof command, "rm -rf %s", t->root);
    int rc = system(command); /* NOLINT: a folder of our own making */
    hd_free(t);
    return rc;
}

/* The page after one sample more, a second later. */
static const char *sample(tree *t)
{
    hd_error err;
    if (!t->watch) {
        const hd_machine_watch_options o = {.root = t->root, .by_hand = true};
        assert_int_equal(hd_machine_watch_open(&t->watch, &o, &err), HD_OK);
    }
    now_ns += 1000000000u;
    hd_machine_watch_sample(t->watch);
    hd_buf_clear(&t->page);
    hd_machine_watch_write(t->watch, &t->page);
    assert_int_equal(t->page.status, HD_OK);
    return t->page.data ? t->page.data : "";
}

/* Whether the page has that line. */
static bool has(const tree *t, const char *line)
{
    char whole[256];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    return strstr(t->page.data, whole) != NULL;
}

#define assert_has(t, line)                                                                                            \
    if (!has(t, line)) fail_msg("no %s in\n%s", line, (t)->page.data)
#define assert_lacks(t, text)                                                                                          \
    if (strstr((t)->page.data, text)) fail_msg("%s in\n%s", text, (t)->page.data)

static void test_nothing_there(void **state)
{
    tree *t = *state;
    (void)sample(t);
    (void)sample(t);
    /* what is left is what taking the sample took */
    assert_string_equal(t->page.data,
                        "# HELP hadal:machine_sample_seconds What taking these figures took the last time.\n"
                        "# TYPE hadal:machine_sample_seconds gauge\nhadal:machine_sample_seconds 0\n");
}

static void test_memory_and_cpu(void **state)
{
    tree *t = *state;
    put(t, "/proc/meminfo", "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  250 kB\nSwapTotal: 0 kB\n");
    put(t, "/proc/stat",
        "cpu  100 0 100 800 0 0 0 0\ncpu0 50 0 50 400 0\ncpu1 50 0 50 400 0\nctxt 7\nbtime 1700000000\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_memory_used_ratio 0.75");
    assert_has(t, "hadal:machine_memory_bytes{kind=\"total\"} 1024000");
    assert_has(t, "hadal:machine_cpus 2");
    assert_has(t, "hadal:machine_context_switches_total 7");
    assert_lacks(t, "hadal:machine_cpu_used_ratio"); /* there is no interval yet */
    put(t, "/proc/stat", "cpu  160 0 130 810 0 0 0 0\ncpu0 1 0 1 1\ncpu1 1 0 1 1\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_cpu_used_ratio 0.9");
    put(t, "/proc/stat", "cpu  1 0 1 1 0 0 0 0\ncpu0 1\n"); /* went back: a machine that was moved */
    (void)sample(t);
    assert_lacks(t, "hadal:machine_cpu_used_ratio");
}

static void test_limits_of_version_2(void **state)
{
    tree *t = *state;
    put(t, "/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 900000 kB\n");
    put(t, "/proc/stat", "cpu  100 0 100 800 0 0 0 0\ncpu0 0\ncpu1 0\ncpu2 0\ncpu3 0\n");
    put(t, "/proc/self/cgroup", "0::/a/b\n");
    put(t, "/sys/fs/cgroup/a/b/memory.current", "800000\n");
    put(t, "/sys/fs/cgroup/a/b/memory.stat", "anon 5\ninactive_file 50000\n");
    put(t, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put(t, "/sys/fs/cgroup/a/memory.max", "1000000\n"); /* from above */
    put(t, "/sys/fs/cgroup/a/b/memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n");
    put(t, "/sys/fs/cgroup/a/b/cpu.max", "200000 100000\n");
    put(t, "/sys/fs/cgroup/a/b/cpu.stat",
        "usage_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 2500000\n");
    put(t, "/sys/fs/cgroup/a/b/pids.current", "12\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_memory_used_ratio 0.75");
    assert_has(t, "hadal:cgroup_memory_limit_bytes 1000000");
    assert_has(t, "hadal:cgroup_memory_events_total{event=\"oom_kill\"} 4");
    assert_has(t, "hadal:cgroup_cpu_limit_cores 2");
    assert_has(t, "hadal:cgroup_cpu_throttled_seconds_total 2.5");
    assert_has(t, "hadal:cgroup_tasks 12");
    put(t, "/sys/fs/cgroup/a/b/cpu.stat", "usage_usec 2500000\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_cpu_used_ratio 0.75"); /* 1.5 s of 2 processors in a second */
}

static void test_limits_of_version_1(void **state)
{
    tree *t = *state;
    put(t, "/proc/self/cgroup", "4:memory:/x/y\n3:cpu,cpuacct:/x\n1:cpu:/\n2:cpuacct:/\n");
    /* the path is not there, as in containers: the mount itself is ours */
    put(t, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "300\n");
    put(t, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n");
    put(t, "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file 100\n");
    put(t, "/sys/fs/cgroup/cpu/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 500000000\n");
    put(t, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put(t, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put(t, "/sys/fs/cgroup/cpuacct/cpuacct.usage", "7000000000\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_memory_used_ratio 0.2");
    assert_has(t, "hadal:cgroup_memory_used_bytes 300");
    assert_has(t, "hadal:cgroup_cpu_seconds_total 7");
    assert_has(t, "hadal:cgroup_cpu_throttled_seconds_total 0.5");
    assert_lacks(t, "hadal:cgroup_cpu_limit_cores");
    put(t, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    (void)sample(t);
    assert_lacks(t, "hadal:cgroup_memory_limit_bytes");
}

static void test_sensors(void **state)
{
    tree *t = *state;
    put(t, "/sys/class/hwmon/hwmon1/name", "core temp\"\\\n"); /* made fit for a label */
    put(t, "/sys/class/hwmon/hwmon1/temp1_input", "45500\n");
    put(t, "/sys/class/hwmon/hwmon1/temp1_label", "Package id 0\n");
    put(t, "/sys/class/hwmon/hwmon1/temp2_input", "127000000\n"); /* broken */
    put(t, "/sys/class/hwmon/hwmon1/temp3_input", "nonsense\n");
    put(t, "/sys/class/hwmon/hwmon1/power1_average", "65000000\n");
    put(t, "/sys/class/thermal/thermal_zone0/type", "acpitz\n");
    put(t, "/sys/class/thermal/thermal_zone0/temp", "30000\n");
    put(t, "/sys/class/powercap/intel-rapl:0/name", "package-0\n");
    put(t, "/sys/class/powercap/intel-rapl:0/energy_uj", "90000000\n");
    put(t, "/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "100000000\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_temperature_celsius{sensor=\"hwmon1/core_temp__/Package_id_0\"} 45.5");
    assert_has(t, "hadal:machine_temperature_celsius{sensor=\"zone0/acpitz\"} 30");
    assert_has(t, "hadal:machine_power_watts{sensor=\"hwmon1/core_temp__/1\"} 65");
    assert_has(t, "hadal:machine_energy_joules_total{sensor=\"intel-rapl:0/package-0\"} 0");
    assert_lacks(t, "127000");
    put(t, "/sys/class/powercap/intel-rapl:0/energy_uj", "10000000\n"); /* it ran over */
    (void)sample(t);
    assert_has(t, "hadal:machine_power_watts{sensor=\"intel-rapl:0/package-0\"} 20");
    assert_has(t, "hadal:machine_energy_joules_total{sensor=\"intel-rapl:0/package-0\"} 20");
}

static void test_many_sensors(void **state)
{
    tree *t = *state;
    for (int chip = 0; chip < 8; chip++)
        for (int i = 1; i <= 32; i++) {
            char path[96];
            snprintf(path, sizeof path, "/sys/class/hwmon/hwmon%d/name", chip);
            put(t, path, "x");
            snprintf(path, sizeof path, "/sys/class/hwmon/hwmon%d/temp%d_input", chip, i);
            put(t, path, "1000");
        }
    int count = 0;
    for (const char *at = sample(t); (at = strstr(at, "\nhadal:machine_temperature_celsius{")); at++)
        count++;
    assert_int_equal(count, 64);
}

static void test_process(void **state)
{
    tree *t = *state;
    put(t, "/proc/stat", "cpu  1 0 1 1\nbtime 1000\n");
    put(t, "/proc/self/stat",
        "7 (a ) b) S 1 1 1 0 -1 4194560 11 0 22 0 300 200 0 0 20 0 9 0 500 123456 3 18446744073709551615 0 0 0 0 0\n");
    put(t, "/proc/self/status", "Name:\tx\nVmHWM:\t  10 kB\nRssAnon:\t 4 kB\nvoluntary_ctxt_switches:\t8\n");
    put(t, "/proc/self/limits",
        "Limit Soft\nMax open files            1024                 4096                 files\n");
    put(t, "/proc/self/io", "rchar: 1\nread_bytes: 4096\nwrite_bytes: 512\n");
    put(t, "/proc/self/fd/0", "");
    put(t, "/proc/self/fd/1", "");
    put(t, "/proc/self/fd/2", "");
    (void)sample(t);
    char line[96];
    double tick = (double)sysconf(_SC_CLK_TCK);
    snprintf(line, sizeof line, "process_cpu_seconds_total %.12g", 500 / tick);
    assert_has(t, line);
    snprintf(line, sizeof line, "process_start_time_seconds %.12g", 1000 + 500 / tick);
    assert_has(t, line);
    assert_has(t, "process_virtual_memory_bytes 123456");
    assert_has(t, "process_threads 9");
    assert_has(t, "hadal:process_page_faults_total{kind=\"major\"} 22");
    assert_has(t, "hadal:process_anonymous_memory_bytes 4096");
    assert_has(t, "process_max_fds 1024");
    assert_has(t, "process_open_fds 2");
    assert_has(t, "hadal:process_io_bytes_total{direction=\"write\"} 512");
}

static void test_traffic_of_the_machine(void **state)
{
    tree *t = *state;
    put(t, "/proc/pressure/memory", "some avg10=12.50 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=1.00 total=5\n");
    put(t, "/proc/pressure/io", "some avg10=nan total=x\n");
    put(t, "/proc/loadavg", "0.50 1.25 2.00 1/2 3\n");
    put(t, "/proc/net/dev",
        "Inter-|\n face |\n    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n"
        "  eth0:100 2 1 1 0 0 0 0 200 3 0 2 0 0 0 0\n");
    put(t, "/proc/net/snmp", "Ip: A B\nIp: 1 2\nTcp: RtoMin RetransSegs InErrs\nTcp: 200 17 0\n");
    put(t, "/proc/diskstats",
        "   8  0 sda 1 0 10 0 1 0 20 0 0 1500 0\n   8  1 sda1 1 0 10 0 1 0 20 0 0 1500 0\n"
        " 259  0 nvme0n1 1 0 2 0 1 0 4 0 0 500 0\n 259  1 nvme0n1p1 1 0 2 0 1 0 4 0 0 500 0\n");
    put(t, "/proc/vmstat", "pswpin 0\npgmajfault 3\noom_kill 1\n");
    (void)sample(t);
    assert_has(t, "hadal:machine_pressure_ratio{resource=\"memory\",kind=\"some\"} 0.125");
    assert_has(t, "hadal:machine_pressure_seconds_total{resource=\"memory\",kind=\"some\"} 2");
    assert_lacks(t, "resource=\"io\"");
    assert_has(t, "hadal:machine_load_average{window=\"5m\"} 1.25");
    assert_has(t, "hadal:machine_network_bytes_total{direction=\"in\"} 100");
    assert_has(t, "hadal:machine_network_errors_total{direction=\"out\"} 2");
    assert_has(t, "hadal:machine_tcp_retransmits_total 17");
    assert_has(t, "hadal:machine_disk_bytes_total{direction=\"read\"} 6144");
    assert_has(t, "hadal:machine_disk_busy_seconds_total 2");
    assert_has(t, "hadal:machine_oom_kills_total 1");
}

/* Nothing but sense may come of it, whatever the files hold. */
static void test_broken_numbers(void **state)
{
    static const char *const files[] = {"/proc/stat",
                                        "/proc/meminfo",
                                        "/proc/self/stat",
                                        "/proc/self/status",
                                        "/proc/self/limits",
                                        "/proc/self/io",
                                        "/proc/loadavg",
                                        "/proc/pressure/cpu",
                                        "/proc/net/dev",
                                        "/proc/net/snmp",
                                        "/proc/diskstats",
                                        "/proc/vmstat",
                                        "/proc/self/cgroup",
                                        "/sys/fs/cgroup/memory.current",
                                        "/sys/fs/cgroup/cpu.stat",
                                        "/sys/fs/cgroup/cpu.max",
                                        "/sys/class/hwmon/hwmon0/name"};
    static const char *const texts[] = {"",
                                        "\n",
                                        "x",
                                        "cpu ",
                                        "cpu  nan inf -1 1e999\n",
                                        ")",
                                        "7 (x) S",
                                        "7 (x) S -1 -1 nan inf 1e400",
                                        "some avg10=",
                                        "MemTotal: -5 kB\nMemAvailable: nan kB\n",
                                        "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
                                        "Max open files unlimited\n",
                                        "0::",
                                        "0::/../../..\n",
                                        "Tcp: RetransSegs\nTcp:\n",
                                        "Tcp: RetransSegs",
                                        "eth0:",
                                        "a:b:c\n",
                                        "max 0\n",
                                        "0 0\n",
                                        "usage_usec -1\n",
                                        "8 0 sda 1 2 3\n",
                                        "8 0 ",
                                        "read_bytes: 99999999999999999999999999999999\n"};
    tree *t = *state;
    for (size_t i = 0; i < HD_ARRAY_LEN(texts); i++) {
        for (size_t k = 0; k < HD_ARRAY_LEN(files); k++)
            put(t, files[k], texts[i]);
        (void)sample(t);
        assert_lacks(t, "nan");
        assert_lacks(t, "inf");
        assert_lacks(t, " -");
    }
}

static void test_folders(void **state)
{
    tree *t = *state;
    char path[128];
    hd_error err;
    snprintf(path, sizeof path, "%s/not/there/yet", t->root);
    const hd_machine_watch_options o = {.folders = {{"data", t->root}, {"models", path}}};
    assert_int_equal(hd_machine_watch_open(&t->watch, &o, &err), HD_OK); /* with its thread, on this machine */
    hd_machine_watch_write(t->watch, &t->page);
    assert_non_null(strstr(t->page.data, "\nhadal:disk_free_ratio{folder=\"data\"} 0."));
    assert_non_null(strstr(t->page.data, "\nhadal:disk_free_ratio{folder=\"models\"} 0."));
    assert_non_null(strstr(t->page.data, "\nprocess_resident_memory_bytes "));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_there),
        TEST(test_memory_and_cpu),
        TEST(test_limits_of_version_2),
        TEST(test_limits_of_version_1),
        TEST(test_sensors),
        TEST(test_many_sensors),
        TEST(test_process),
        TEST(test_traffic_of_the_machine),
        TEST(test_broken_numbers),
        TEST(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
