#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>
#include <sys/wait.h>
#include <string.h>
#include <pthread.h>
static char *p;
static void *work(void *a) { char *q = mmap(0, 16384, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0); memset(q, 1, 16384); madvise(q, 8192, MADV_DONTNEED); q[0] = 1; munmap(q, 16384); return 0; }
int main(void) {
  p = mmap(0, 32768, 3, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0);
  memset(p, 1, 32768);
  mprotect(p, 8192, PROT_READ);
  mprotect(p, 8192, PROT_READ|PROT_WRITE);
  p = mremap(p, 32768, 1 << 20, MREMAP_MAYMOVE);
  madvise((void *)1, 1, MADV_DONTNEED);
  pthread_t t; pthread_create(&t, 0, work, 0); pthread_join(t, 0);
  int k = fork();
  if (!k) { p[20480] = 3; _exit(0); }
  wait(0);
  p[24576] = 4;
  munmap(p, 1 << 20);
  sbrk(8192);
  return 0;
}
