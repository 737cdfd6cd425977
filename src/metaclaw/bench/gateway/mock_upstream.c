/* A provider that costs next to nothing: every POST is answered at once, so that a benchmark measures the gateway.
 *
 *   cc -O2 -o mock_upstream mock_upstream.c && ./mock_upstream PORT
 *
 * One thread, epoll, keep-alive, loopback only. A body that asks for a stream gets 22 server-sent events, each written
 * by itself as a chunk; any other gets a whole chat completion. A client that reads slowly is waited for (blocking
 * writes): fine for a load generator, and for nothing else.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, EVENTS = 20, INITIAL = 1 << 16 };

typedef struct {
    char *data;
    size_t used, room;
} Buffer;

static Buffer inputs[MAX_CONNECTIONS];
static char whole[1024];
static size_t whole_size;
static char pieces[EVENTS + 3][512];
static size_t piece_sizes[EVENTS + 3];

static void chunk(int number, const char *event) {
    piece_sizes[number] =
        (size_t)snprintf(pieces[number], sizeof pieces[number], "%zx\r\n%s\r\n", strlen(event), event);
}

static void prepare(void) {
    const char *body =
        "{\"id\":\"cmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"The report is in reports/2026-01-31.md.\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":12,\"total_tokens\":42}}";
    whole_size = (size_t)snprintf(whole, sizeof whole,
                                  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                  strlen(body), body);
    piece_sizes[0] = (size_t)snprintf(pieces[0], sizeof pieces[0],
                                      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 1; i <= EVENTS; i++) {
        char event[400];
        snprintf(event, sizeof event,
                 "data: {\"id\":\"cmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","
                 "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word%d\"},\"finish_reason\":null}]}\n\n",
                 i);
        chunk(i, event);
    }
    chunk(EVENTS + 1,
          "data: {\"id\":\"cmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\","
          "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    chunk(EVENTS + 2, "data: [DONE]\n\n");
    strcat(pieces[EVENTS + 2], "0\r\n\r\n");
    piece_sizes[EVENTS + 2] = strlen(pieces[EVENTS + 2]);
}

static int send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static int answer(int fd, const char *body, size_t size) {
    if (!memmem(body, size, "\"stream\":true", 13) && !memmem(body, size, "\"stream\": true", 14))
        return send_all(fd, whole, whole_size);
    for (int i = 0; i < EVENTS + 3; i++)
        if (send_all(fd, pieces[i], piece_sizes[i])) return -1;
    return 0;
}

/* Answers every whole request in the buffer; 0 to go on, -1 to close. */
static int serve(int fd, Buffer *input) {
    for (;;) {
        char *end = memmem(input->data, input->used, "\r\n\r\n", 4);
        if (!end) return 0;
        size_t head = (size_t)(end - input->data) + 4, length = 0;
        for (char *line = input->data; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
            if (*line == '\n') line++;
            if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
        }
        if (input->used < head + length) return 0;
        if (answer(fd, input->data + head, length)) return -1;
        input->used -= head + length;
        memmove(input->data, input->data + head + length, input->used);
    }
}

static int readable(int fd) {
    Buffer *input = &inputs[fd];
    if (input->room - input->used < INITIAL) {
        input->room = input->room ? input->room * 2 : 2 * INITIAL;
        input->data = realloc(input->data, input->room);
        if (!input->data) exit(1);
    }
    ssize_t got = recv(fd, input->data + input->used, input->room - input->used - 1, 0);
    if (got <= 0) return -1;
    input->used += (size_t)got;
    return serve(fd, input);
}

int main(int count, char **arguments) {
    if (count != 2) return fprintf(stderr, "usage: mock_upstream PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    prepare();
    int door = socket(AF_INET, SOCK_STREAM, 0), yes = 1, poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(door, (struct sockaddr *)&address, sizeof address) || listen(door, 1024)) return perror("mock"), 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = door}, ready[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &event);
    for (;;) {
        int n = epoll_wait(poll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (fd == door) {
                int client = accept(door, NULL, NULL);
                if (client < 0) continue;
                if (client >= MAX_CONNECTIONS) { close(client); continue; }
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                inputs[client].used = 0;
                event.events = EPOLLIN, event.data.fd = client;
                epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
            } else if (readable(fd)) {
                close(fd);
            }
        }
    }
}
