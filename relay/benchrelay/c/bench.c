// bench: both ends of the relay's benchmark that are not under test.
//
//   bench send PORT LINES plain|tags RATE:MS...   sends that many packets a
//       second for that many milliseconds each, and prints "RATE SENT US" after
//       each step
//   bench sink PORT BYTES [parse]   receives, as cheaply as can be, with a
//       socket buffer of so many bytes (0: the default); parse also finds and adds
//       up the values. Prints "PACKETS SUM" when it is ended.
//
// Only to 127.0.0.1.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKETS = 1000, SIZE = 1472, SEND_BATCH = 32, READ_BATCH = 128 };

static char text[PACKETS][SIZE];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int udp(int port, int server, int bytes) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  if (server && bytes && setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  if ((server ? bind : connect)(s, (struct sockaddr *)&a, sizeof a)) {
    perror("bench");
    exit(1);
  }
  return s;
}

// line writes one of 20 metrics: 60 % timers, 30 % counters, 10 % gauges.
static int line(char *to, int i, int tags) {
  int k = i % 20;
  if (k < 12)
    return sprintf(to, tags ? "shop.request%02d.latency:%d.%03d|ms|#status:200" : "shop.request%02d.latency.status200:%d.%03d|ms",
                   k, 5 + i * 7919 % 90, i * 104729 % 1000);
  if (k < 18) return sprintf(to, "shop.orders%02d.placed:1|c", k);
  return sprintf(to, "shop.pool%02d.busy:%d|g", k, i * 31 % 100);
}

static int sender(int argc, char **argv) {
  int lines = atoi(argv[3]), tags = !strcmp(argv[4], "tags"), s = udp(atoi(argv[2]), 0, 0);
  static struct iovec iov[PACKETS];
  static struct mmsghdr m[PACKETS + SEND_BATCH];
  for (int i = 0, n = 0; i < PACKETS; i++) {
    int len = 0;
    for (int l = 0; l < lines; l++) {
      if (l) text[i][len++] = '\n';
      len += line(text[i] + len, n++, tags);
    }
    iov[i] = (struct iovec){text[i], len};
  }
  for (int i = 0; i < PACKETS + SEND_BATCH; i++) {
    m[i].msg_hdr.msg_iov = &iov[i % PACKETS];
    m[i].msg_hdr.msg_iovlen = 1;
  }
  prctl(PR_SET_TIMERSLACK, 1);
  long total = 0;
  for (int step = 5; step < argc; step++) {
    double rate = atof(argv[step]), seconds = atof(strchr(argv[step], ':') + 1) / 1000, begun = now(), t;
    long sent = 0;
    while ((t = now() - begun) < seconds) {
      long due = (long)(t * rate) - sent;
      if (due < 1) {
        struct timespec pause = {0, 20000};
        nanosleep(&pause, NULL);
        continue;
      }
      // A sender that was held up does not make up for all of it at once.
      int n = sendmmsg(s, &m[total % PACKETS], due < SEND_BATCH ? due : SEND_BATCH, 0);
      if (n < 0 && errno != ECONNREFUSED) return perror("send"), 1;
      if (n > 0) sent += n, total += n;
    }
    printf("%.0f %ld %.0f\n", rate, sent, (now() - begun) * 1e6);
    fflush(stdout);
  }
  return 0;
}

static volatile sig_atomic_t ended;
static void end(int sig) { ended = sig; }

static uint64_t parse(const char *p, int n) {
  uint64_t sum = 0;
  for (const char *stop = p + n; p < stop;) {
    const char *eol = memchr(p, '\n', stop - p);
    if (!eol) eol = stop;
    const char *c = memchr(p, ':', eol - p);
    for (; c && ++c < eol && *c != '|';)
      if (*c != '.') sum += *c - '0';
    p = eol + 1;
  }
  return sum;
}

static int sink(int argc, char **argv) {
  int s = udp(atoi(argv[2]), 1, atoi(argv[3])), parsing = argc > 4;
  uint64_t packets = 0, sum = 0;
  static struct iovec iov[READ_BATCH];
  static struct mmsghdr m[READ_BATCH];
  static char room[READ_BATCH][2048 + 64];
  for (int i = 0; i < READ_BATCH; i++) {
    iov[i] = (struct iovec){room[i], 2048};
    m[i].msg_hdr.msg_iov = &iov[i];
    m[i].msg_hdr.msg_iovlen = 1;
  }
  struct sigaction act = {.sa_handler = end};  // without SA_RESTART
  sigaction(SIGTERM, &act, NULL);
  while (!ended) {
    int n = recvmmsg(s, m, READ_BATCH, MSG_WAITFORONE, NULL);
    for (int i = 0; i < n; i++) {
      packets++;
      if (!parsing) continue;
      sum += parse(room[i], m[i].msg_len);
    }
  }
  printf("%lu %lu\n", packets, sum);
  return 0;
}

int main(int argc, char **argv) {
  if (argc >= 6 && !strcmp(argv[1], "send")) return sender(argc, argv);
  if (argc >= 4 && !strcmp(argv[1], "sink")) return sink(argc, argv);
  fprintf(stderr, "usage: bench send PORT LINES plain|tags RATE:MS... | bench sink PORT BYTES [parse]\n");
  return 1;
}
