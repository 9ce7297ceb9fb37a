/* What cachegrind and the model are compared on: many pages, touched in many ways, and nothing that differs between two
   runs. 2600 pages of data are more than the largest second level holds, 192 pages of code more than any first level. */
#include <stdint.h>

enum { PAGE = 4096, PAGES = 2600, FAR = 96 };

static unsigned char memory[(PAGES + 1) * PAGE] __attribute__((aligned(4096)));
static volatile uint64_t sum;
static uint32_t state = 1;

static uint32_t draw(void) { return (state = state * 1664525u + 1013904223u) >> 8; }

static void sequential(void) {
  for (long i = 0; i < (long) PAGES * PAGE; i += 512) memory[i] = (unsigned char) i;
}

static void strided(void) {
  for (long step = 1; step < 40; step += 6)
    for (long page = 0; page < PAGES; page += step) sum += memory[page * PAGE + 64 * step];
}

typedef uint64_t __attribute__((aligned(1), may_alias)) word;

/* read, write or modify eight bytes */
static void touch(word *at, uint32_t how) {
  if (how & 256)
    sum += *at;
  else if (how & 512)
    *at = how;
  else
    ++*at;
}

static void anywhere(long n) {
  while (n--) {
    uint32_t r = draw();
    word *at = (word *) (memory + (long) (r % PAGES) * PAGE + (draw() & 4088));
    touch(at, r);
    if (r % 16 == 0) __atomic_fetch_add((uint64_t *) at, 1, __ATOMIC_SEQ_CST);
  }
}

/* 1 to 7 of the eight bytes lie in the page before */
static void crossing(long n) {
  while (n--) {
    uint32_t r = draw();
    touch((word *) (memory + (long) (r % (PAGES - 1) + 1) * PAGE - 1 - (r >> 5) % 7), r);
  }
}

static long deep(long n) {
  volatile unsigned char frame[3000];
  frame[n] = (unsigned char) n;
  return n ? deep(n - 1) + frame[n] : 0;
}

#if defined(__x86_64__)
/* 96 places, two pages apart, where an instruction of ten bytes lies in two pages; an entry before it and one behind it */
__asm__(".text\n.p2align 12\nfar_code:\n"
        ".rept 96\n.skip 4091, 0xcc\nmovabs $0x1122334455667788, %rax\nret\n.p2align 12, 0xcc\n.endr\n");
extern char far_code[];

static void far(long n) {
  while (n--) {
    long place = draw() % FAR;
    ((void (*)(void)) (far_code + place * 8192 + (draw() & 8 ? 4091 : 4101)))();
  }
}
#else
static void far(long n) { sum += (uint64_t) n; }
#endif

int main(void) {
  sequential();
  strided();
  anywhere(30000);
  crossing(15000);
  for (int i = 0; i < 20; i++) sum += (uint64_t) deep(500);
  far(6000);
  sequential();
  return 0;
}
