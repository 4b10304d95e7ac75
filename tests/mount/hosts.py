# SPDX-License-Identifier: Apache-2.0
"""Hosts of a cluster on one machine: each a network and a mount namespace of its own, on a network that can be slow,
lose packets and fall apart.

The network is a program of ours, because not every kernel has sch_netem: each host's only interface is a TUN device
whose packets a process takes, drops or holds back, and hands to the device they are for.  What is lost is
lost to TCP, which sends it again in its own time; nobody hears of a partition.  The store, which listens on the
machine's loopback, has an address in that network too: a relay there that knows nothing of HTTP.

    net = hosts.Network(case, ["a", "b"], endpoint)
    net.shape(delay_s=0.02, jitter_s=0.005, loss=0.01)
    net.cut("a")                                     # until net.heal()
    mount = net.mount(stream, "a", options)          # a bw.Mount whose daemon lives on a
    child = net.spawn("a", function, mount)          # a process on a
"""
import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.parse

import apart
import bw

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MTU = 9000
STORE = "10.77.0.1"
PIECE = 256 << 10


def checked(result):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter(pid, *kinds):
    """This process (one thread) goes where pid is."""
    for kind in kinds:
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(bw.LIBC.setns(fd, 0))
        finally:
            os.close(fd)


def live_apart(ready):
    """A host: two namespaces, held until it is killed."""
    checked(bw.LIBC.unshare(CLONE_NEWNET | CLONE_NEWNS))
    checked(bw.LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    apart.leave_mounts()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.write(ready, b"x")
    while True:
        signal.pause()


def open_tun():
    """OSError where packets cannot be had."""
    with contextlib.suppress(OSError):  # a container may have the driver without its device
        os.makedirs("/dev/net", exist_ok=True)
        os.mknod("/dev/net/tun", 0o20600, os.makedev(10, 200))
    return os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


class Wire:
    """The process between the hosts.  Told what to do by lines of JSON."""

    def __init__(self, pids, addresses, ears, seed):
        self.random = random.Random(seed)
        self.shape = {"delay_s": 0, "jitter_s": 0, "loss": 0, "cut": []}
        self.ears = ears
        self.queue, self.number = [], 0
        self.ends, self.owner = {}, {}  # address: device, device: name
        for i, (name, pid) in enumerate(pids.items()):
            fd = open_tun()
            device = f"bw{os.getpid()}n{i}"[-15:]
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
            self.run("ip", "link", "set", device, "netns", str(pid))
            inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
            self.run(*inside, "addr", "add", f"{addresses[name]}/24", "dev", device)
            self.run(*inside, "link", "set", device, "mtu", str(MTU), "up")
            self.ends[socket.inet_aton(addresses[name])] = fd
            self.owner[fd] = name

    @staticmethod
    def run(*words):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    def is_lost(self, *names):
        return any(n in self.shape["cut"] for n in names) or self.random.random() < self.shape["loss"]

    def take(self, fd):
        """Everything that a host has sent."""
        while True:
            try:
                packet = os.read(fd, MTU + 100)
            except BlockingIOError:
                return
            to = self.ends.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if to is None or self.is_lost(self.owner[fd], self.owner[to]):
                continue
            late = self.shape["delay_s"] + self.random.uniform(-1, 1) * self.shape["jitter_s"]
            self.number += 1
            heapq.heappush(self.queue, (time.monotonic() + max(late, 0), self.number, to, packet))

    def hand_out(self):
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            _, _, to, packet = heapq.heappop(self.queue)
            with contextlib.suppress(OSError):  # its queue is full, or the host has gone
                os.write(to, packet)

    def serve(self):
        """Until the other end of ears is closed."""
        poll = select.poll()
        for fd in [*self.owner, self.ears.fileno()]:
            poll.register(fd, select.POLLIN)
        while True:
            # To the millisecond, and never before the time.
            left = max(0, self.queue[0][0] - time.monotonic()) * 1000 + 1 if self.queue else None
            for fd, _ in poll.poll(left):
                if fd != self.ears.fileno():
                    self.take(fd)
                    continue
                words = self.ears.recv(4096)
                if not words:
                    return
                self.shape.update(json.loads(words))
                self.ears.send(b"done")
            self.hand_out()


class Relay:
    """Listens where the store is to be found, and passes every byte on to where it is."""

    def __init__(self, pid, port, upstream):
        self.upstream = upstream
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        enter(pid, "net")
        self.server = socket.create_server((STORE, port), backlog=256)
        checked(bw.LIBC.setns(home, 0))
        os.close(home)

    def serve(self):
        while True:
            near, _ = self.server.accept()
            threading.Thread(target=self.join, args=(near,), daemon=True).start()

    def join(self, near):
        with near, contextlib.suppress(OSError), socket.create_connection(self.upstream) as far:
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self.pump, args=(far, near), daemon=True)
            back.start()
            self.pump(near, far)
            back.join()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                sink.sendall(piece)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Network:
    def __init__(self, case, names, endpoint, seed=0):
        self.case = case
        try:
            os.close(open_tun())
        except OSError as e:
            case.skipTest(f"no networks can be made here: /dev/net/tun: {e}")
        url = urllib.parse.urlsplit(endpoint)
        self.endpoint = f"http://{STORE}:{url.port}"
        self.env = {"AWS_ENDPOINT_URL_S3": self.endpoint}
        self.pids = {name: self.make_host() for name in ["store", *names]}
        self.addresses = {name: f"10.77.0.{i + 1}" for i, name in enumerate(self.pids)}
        self.mouth, ears = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.wire = case.spawn(self.run_wire, ears, seed)
        ears.close()
        case.addCleanup(self.mouth.close)
        self.tell()
        ready = os.pipe()
        self.relay = case.spawn(self.run_relay, url, ready[1])
        os.close(ready[1])
        assert os.read(ready[0], 1) == b"x", "no relay"
        os.close(ready[0])

    def make_host(self):
        ready = os.pipe()
        child = self.case.spawn(live_apart, ready[1])
        os.close(ready[1])
        assert os.read(ready[0], 1) == b"x", "no namespaces"
        os.close(ready[0])
        return child.pid

    def run_wire(self, ears, seed):
        self.mouth.close()
        Wire(self.pids, self.addresses, ears, seed).serve()

    def run_relay(self, url, ready):
        relay = Relay(self.pids["store"], url.port, (url.hostname, url.port))
        os.write(ready, b"x")
        os.close(ready)
        relay.serve()

    # ---- the network ----

    def tell(self, **words):
        self.mouth.send(json.dumps(words).encode())
        assert self.mouth.recv(100) == b"done", "the wire has ended"

    def shape(self, delay_s=0, jitter_s=0, loss=0):
        """Of every packet, each way; loss is a probability."""
        self.tell(delay_s=delay_s, jitter_s=jitter_s, loss=loss)

    def cut(self, *names):
        """Nothing goes to or comes from these."""
        self.tell(cut=list(names))

    def heal(self):
        self.cut()

    # ---- the hosts ----

    def inside(self, host):
        pid = self.pids[host]
        return ["nsenter", f"--net=/proc/{pid}/ns/net", f"--mount=/proc/{pid}/ns/mnt"]

    def spawn(self, host, call, *args):
        """A process on a host; for it mount.dir is where the mount is there."""
        def there():
            enter(self.pids[host], "net", "mnt")
            for mount in self.case.mounts:
                mount.dir = mount.there
            call(*args)
        return self.case.spawn(there)

    def mount(self, stream, host, options=""):
        folder = self.case.folder("mnt-" + host)
        log = os.path.join(self.case.root, os.path.basename(folder) + ".log")
        inside = self.inside(host)
        mount = bw.Mount(stream, folder, log, options, self.env, inside,
                         f"/proc/{self.pids[host]}/root{folder}", inside)
        self.case.mounts.append(mount)
        self.case.addCleanup(self.case.close_mount, mount)
        return mount
