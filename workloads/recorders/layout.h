/* The memory that a program begins with: QEMU tells where it is and with which rights, this process's own maps what backs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Not of that interface: QEMU's own list of the program's pages, which QEMU 6.2 to 8.2 lets plugins see. */
typedef int on_region(void *data, uint64_t start, uint64_t end, unsigned long flags);
int walk_memory_regions(void *data, on_region *) __attribute__((weak));
extern uintptr_t guest_base __attribute__((weak));
enum { PAGE_RIGHTS = 7, PAGE_WRITE = 2, PAGE_WRITE_ORIGINALLY = 0x10 };

struct region { uint64_t start, end; int rights; };
struct regions { struct region *all; size_t count, room; };

static int note_region(void *data, uint64_t start, uint64_t end, unsigned long flags) {
    struct regions *regions = data;
    if (regions->count == regions->room) {
        regions->room = 2 * regions->room + 64;
        regions->all = realloc(regions->all, regions->room * sizeof(struct region));
    }
    int rights = flags & PAGE_RIGHTS;
    if (flags & PAGE_WRITE_ORIGINALLY) { /* now write-protected, for code of it has been translated */
        rights |= PAGE_WRITE;
    }
    regions->all[regions->count++] = (struct region) {start, end, rights};
    return 0;
}

struct mapping { uint64_t start, end, offset; struct file file; int rights; bool is_shared; };

static void append_mapping(struct slot *slot, const struct mapping *m) {
    if (m->start == m->end || !m->rights || m->start >> USER_BITS) {
        return; /* pages without rights are guards, or what QEMU's loader keeps for the program break */
    }
    int flags = (m->is_shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | (m->file.inode ? 0 : MAP_ANONYMOUS);
    uint64_t args[6] = {m->start, m->end - m->start, m->rights, flags, m->file.inode ? 0 : -1, m->offset};
    append_call(slot, MMAP, args, m->start, INITIAL, m->file);
}

static bool continues(const struct mapping *a, const struct mapping *b) {
    bool same_file = !memcmp(&a->file, &b->file, sizeof a->file);
    bool in_order = !a->file.inode || a->offset + (a->end - a->start) == b->offset;
    return a->end == b->start && a->rights == b->rights && a->is_shared == b->is_shared && same_file && in_order;
}

static void append_layout(struct slot *slot) {
    struct regions regions = {0};
    walk_memory_regions(&regions, note_region);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4400], rights[5];
    struct mapping last = {0}, line_of = {0};
    while (maps && fgets(line, sizeof line, maps)) {
        struct file *file = &line_of.file;
        if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu", &line_of.start, &line_of.end, rights, &line_of.offset,
                   &file->major_number, &file->minor_number, &file->inode) != 7) {
            continue;
        }
        for (size_t i = 0; i < regions.count; i++) {
            struct region *region = &regions.all[i];
            uint64_t start = region->start + guest_base, end = region->end + guest_base;
            uint64_t from = start > line_of.start ? start : line_of.start, to = end < line_of.end ? end : line_of.end;
            if (from >= to) {
                continue;
            }
            struct mapping next = line_of;
            next.offset = file->inode ? line_of.offset + (from - line_of.start) : 0;
            next.start = from - guest_base, next.end = to - guest_base;
            next.rights = region->rights, next.is_shared = rights[3] == 's';
            if (continues(&last, &next)) {
                last.end = next.end;
            } else {
                append_mapping(slot, &last);
                last = next;
            }
        }
    }
    append_mapping(slot, &last);
    if (maps) {
        fclose(maps);
    }
    free(regions.all);
}
