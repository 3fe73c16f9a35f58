// buffer.so: preloaded into a peer that has no setting for it, asks for a
// socket buffer of BENCH_READ_BUFFER bytes when a datagram socket is bound.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

int bind(int s, const struct sockaddr *a, socklen_t len) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
  const char *want = getenv("BENCH_READ_BUFFER");
  int type = 0, bytes = want ? atoi(want) : 0;
  socklen_t size = sizeof type;
  if (bytes && !getsockopt(s, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_DGRAM)
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  return real(s, a, len);
}
