"""A shop's visitors. Each request goes to the relay of the machine by statsd."""

import os
import socket

from locust import HttpUser, between, events, task

RELAY = (os.environ["STATSD_HOST"], int(os.environ["STATSD_PORT"]))
relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@events.init.add_listener
def begin(**_):
    # A metric that never comes can't be told from one that is misspelt.
    relay.sendto(b"locust.failed:0|c", RELAY)


@events.request.add_listener
def request(name, response_time, exception, **_):
    relay.sendto(f"locust.latency:{response_time}|ms|#name:{name}".encode(), RELAY)
    if exception:
        relay.sendto(f"locust.failed:1|c|#name:{name}".encode(), RELAY)


class Visitor(HttpUser):
    wait_time = between(0.5, 1.5)

    @task
    def front(self):
        self.client.get("/", name="front")
