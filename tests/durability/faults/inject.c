// Runs a program and lets chosen calls on files fail, as a bad disk would make them.
//
//     inject LOG PREFIX RULES -- program arguments…
//
// Only calls on paths that begin with PREFIX count. RULES are separated by commas; a rule is used up before the next one
// begins to count, so that two rules are a pair of faults. "read:3:EIO" lets the third call of the class `read` fail,
// "any:2:EIO:on" the second and all that follow. Classes: any, read, write, sync, open, name (changes of names), look
// (reads of metadata). Faults: EIO, ENOSPC, KILL (the whole program), SHORT (half of the bytes), NONE.
// Nothing counts while the file LOG.hold exists. Each call that counted gets a line in LOG; those that failed end in " !".
// SIGTERM is handed on. Exit code: the program's, or 128 and the signal.
//
// For Linux on x86-64. In C because Rust's crates for ptrace and seccomp cannot do without `unsafe` of the caller.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum class { READ, WRITE, SYNC, OPEN, NAME, LOOK, ANY };
static const char *const CLASSES[] = {"read", "write", "sync", "open", "name", "look", "any"};

// Where a call names its files: a descriptor, a path, a directory's descriptor and a path, two of either, an address.
enum names { FD, PATH, AT, PATHS, ATS, ADDRESS };

static const struct call {
    int number;
    const char *name;
    enum class class;
    enum names names;
    int length; // the third argument says how much
} CALLS[] = {
    {SYS_read, "read", READ, FD, 1},
    {SYS_pread64, "pread64", READ, FD, 1},
    {SYS_readv, "readv", READ, FD, 1},
    {SYS_write, "write", WRITE, FD, 1},
    {SYS_pwrite64, "pwrite64", WRITE, FD, 1},
    {SYS_writev, "writev", WRITE, FD, 1},
    {SYS_ftruncate, "ftruncate", WRITE, FD, 0},
    {SYS_fallocate, "fallocate", WRITE, FD, 0},
    {SYS_copy_file_range, "copy_file_range", WRITE, FD, 0},
    {SYS_fsync, "fsync", SYNC, FD, 0},
    {SYS_fdatasync, "fdatasync", SYNC, FD, 0},
    {SYS_sync_file_range, "sync_file_range", SYNC, FD, 0},
    {SYS_open, "open", OPEN, PATH, 0},
    {SYS_openat, "openat", OPEN, AT, 0},
    {SYS_mkdir, "mkdir", NAME, PATH, 0},
    {SYS_mkdirat, "mkdirat", NAME, AT, 0},
    {SYS_rmdir, "rmdir", NAME, PATH, 0},
    {SYS_unlink, "unlink", NAME, PATH, 0},
    {SYS_unlinkat, "unlinkat", NAME, AT, 0},
    {SYS_rename, "rename", NAME, PATHS, 0},
    {SYS_renameat, "renameat", NAME, ATS, 0},
    {SYS_renameat2, "renameat2", NAME, ATS, 0},
    {SYS_link, "link", NAME, PATHS, 0},
    {SYS_linkat, "linkat", NAME, ATS, 0},
    {SYS_chmod, "chmod", NAME, PATH, 0},
    {SYS_fchmod, "fchmod", NAME, FD, 0},
    {SYS_fchmodat, "fchmodat", NAME, AT, 0},
    {SYS_bind, "bind", NAME, ADDRESS, 0},
    {SYS_stat, "stat", LOOK, PATH, 0},
    {SYS_lstat, "lstat", LOOK, PATH, 0},
    {SYS_fstat, "fstat", LOOK, FD, 0},
    {SYS_newfstatat, "newfstatat", LOOK, AT, 0},
    {SYS_statx, "statx", LOOK, AT, 0},
    {SYS_access, "access", LOOK, PATH, 0},
    {SYS_statfs, "statfs", LOOK, PATH, 0},
    {SYS_fstatfs, "fstatfs", LOOK, FD, 0},
    {SYS_getdents64, "getdents64", LOOK, FD, 0},
    {SYS_lseek, "lseek", LOOK, FD, 0},
    {SYS_flock, "flock", LOOK, FD, 0},
};
#define CALL_COUNT (sizeof CALLS / sizeof *CALLS)

static struct rule {
    enum class class;
    long number;
    int error; // 0: another kind of fault
    int kill, cut, on;
} rules[4];
static int rule_count;

static pid_t program;

static void fail(const char *what) {
    perror(what);
    exit(99);
}

static void read_rules(char *text) {
    for (char *next, *rule = strtok_r(text, ",", &next); rule; rule = strtok_r(NULL, ",", &next)) {
        char class[16], fault[16], on[4] = "";
        struct rule *new = &rules[rule_count++];
        if (rule_count > 4 || sscanf(rule, "%15[a-z]:%ld:%15[A-Z]:%3s", class, &new->number, fault, on) < 3)
            fail("rule");
        while (new->class < ANY && strcmp(CLASSES[new->class], class)) new->class++;
        if (strcmp(CLASSES[new->class], class)) fail("class");
        if (!strcmp(fault, "EIO")) new->error = EIO;
        else if (!strcmp(fault, "ENOSPC")) new->error = ENOSPC;
        else if (!strcmp(fault, "KILL")) new->kill = 1;
        else if (!strcmp(fault, "SHORT")) new->cut = 1;
        else if (strcmp(fault, "NONE")) fail("fault");
        new->on = !strcmp(on, "on");
    }
}

// Reads a text of the program, page by page.
static void peek(pid_t task, unsigned long from, char *text, size_t room) {
    size_t have = 0;
    while (have < room - 1) {
        size_t part = 4096 - (from + have) % 4096;
        if (part > room - 1 - have) part = room - 1 - have;
        struct iovec ours = {text + have, part}, theirs = {(void *)(from + have), part};
        ssize_t got = process_vm_readv(task, &ours, 1, &theirs, 1, 0);
        if (got <= 0) break;
        if (memchr(text + have, 0, (size_t)got)) return;
        have += (size_t)got;
    }
    text[have] = 0;
}

static void of_descriptor(pid_t task, int descriptor, char *text, size_t room) {
    char link[64];
    if (descriptor == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", task);
    else snprintf(link, sizeof link, "/proc/%d/fd/%d", task, descriptor);
    ssize_t got = readlink(link, text, room - 1);
    text[got < 0 ? 0 : got] = 0;
}

static void of_path(pid_t task, int directory, unsigned long path, char *text, size_t room) {
    char name[4096];
    peek(task, path, name, sizeof name);
    if (*name == '/') {
        snprintf(text, room, "%s", name);
        return;
    }
    of_descriptor(task, directory, text, room);
    size_t have = strlen(text);
    if (*name) snprintf(text + have, room - have, "/%s", name);
}

static void files_of(pid_t task, const struct call *call, const struct user_regs_struct *regs, char *one, char *two,
                     size_t room) {
    *one = *two = 0;
    switch (call->names) {
    case FD: of_descriptor(task, (int)regs->rdi, one, room); break;
    case PATH: of_path(task, AT_FDCWD, regs->rdi, one, room); break;
    case AT: of_path(task, (int)regs->rdi, regs->rsi, one, room); break;
    case PATHS:
        of_path(task, AT_FDCWD, regs->rdi, one, room);
        of_path(task, AT_FDCWD, regs->rsi, two, room);
        break;
    case ATS:
        of_path(task, (int)regs->rdi, regs->rsi, one, room);
        of_path(task, (int)regs->rdx, regs->r10, two, room);
        break;
    case ADDRESS: of_path(task, AT_FDCWD, regs->rsi + 2, one, room); break; // after the family
    }
}

static void hand_on(int signal) { kill(program, signal); }

static void become(char **command) {
    struct sock_filter filter[2 * CALL_COUNT + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    unsigned short length = 1;
    for (size_t i = 0; i < CALL_COUNT; i++) {
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)CALLS[i].number, 0, 1);
        filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog all = {length, filter};
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all))
        fail("cannot be traced");
    execv(command[0], command);
    fail(command[0]);
}

int main(int count, char **args) {
    if (count < 6 || strcmp(args[4], "--")) return fprintf(stderr, "inject LOG PREFIX RULES -- program…\n"), 99;
    char hold[4096];
    snprintf(hold, sizeof hold, "%s.hold", args[1]);
    FILE *log = fopen(args[1], "we");
    if (!log) fail(args[1]);
    const char *prefix = args[2];
    size_t prefix_length = strlen(prefix);
    read_rules(args[3]);
    program = fork();
    if (program < 0) fail("fork");
    if (!program) become(args + 5);
    signal(SIGTERM, hand_on);
    int status;
    waitpid(program, &status, 0);
    ptrace(PTRACE_SETOPTIONS, program, 0,
           PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP |
               PTRACE_O_EXITKILL);
    ptrace(PTRACE_CONT, program, 0, 0);
    int current = 0, code = 99;
    long counted = 0;
    for (;;) {
        pid_t task = waitpid(-1, &status, __WALL);
        if (task < 0 && errno == EINTR) continue;
        if (task < 0) break; // all have ended
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (task == program) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (signal != SIGTRAP || event != PTRACE_EVENT_SECCOMP) {
            // Threads begin with a stop; other signals are the program's own.
            int deliver = event || signal == SIGSTOP ? 0 : signal;
            ptrace(PTRACE_CONT, task, 0, deliver);
            continue;
        }
        struct user_regs_struct regs;
        char one[8192], two[8192];
        const struct call *call = CALLS;
        if (ptrace(PTRACE_GETREGS, task, 0, &regs)) continue; // killed meanwhile
        while (call->number != (int)regs.orig_rax) call++;
        files_of(task, call, &regs, one, two, sizeof one);
        int ours = !strncmp(one, prefix, prefix_length) || !strncmp(two, prefix, prefix_length);
        if (ours && access(hold, F_OK)) {
            struct rule *rule = current < rule_count ? &rules[current] : NULL;
            int counts = rule && (rule->class == ANY || rule->class == call->class);
            int hit = counts && ++counted >= rule->number;
            fprintf(log, "%s %s %s %s%s\n", CLASSES[call->class], call->name, one, two, hit ? " !" : "");
            if (hit) {
                if (rule->kill) {
                    fflush(log);
                    kill(program, SIGKILL);
                    continue;
                }
                if (rule->error) {
                    regs.orig_rax = (unsigned long long)-1;
                    regs.rax = (unsigned long long)-rule->error;
                    ptrace(PTRACE_SETREGS, task, 0, &regs);
                } else if (rule->cut && call->length && regs.rdx > 1) {
                    regs.rdx /= 2;
                    ptrace(PTRACE_SETREGS, task, 0, &regs);
                }
                if (!rule->on) current++, counted = 0;
            }
        }
        ptrace(PTRACE_CONT, task, 0, 0);
    }
    fclose(log);
    return code;
}
