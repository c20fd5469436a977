"""Counts the bytes between clients and a server: a proxy on a port of its own."""

import contextlib
import os
import socket
import threading

import bench


class Wire:
    def __init__(self, server):
        self.server = server
        self.counted = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server.port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self.forward, args=ends, daemon=True).start()

    def forward(self, of, to):
        with contextlib.suppress(OSError):
            while block := of.recv(1 << 18):
                with self.lock:
                    self.counted += len(block)
                to.sendall(block)
            to.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def wires():
    """Proxies for the source and the target. Within, tableferry's configuration names their ports."""
    made = [Wire(server) for server in bench.SERVERS]
    names = [f"TABLEFERRY__SERVERS__{wire.server.side.upper()}__CONNINFO" for wire in made]
    for name, wire in zip(names, made):
        os.environ[name] = f"host=127.0.0.1 port={wire.port} user=postgres dbname=postgres sslmode=disable"
    try:
        yield made
    finally:
        for name, wire in zip(names, made):
            del os.environ[name]
            wire.listener.close()


def moved(run):
    """Calls `run` with the ports of two proxies; returns the bytes that both counted."""
    with wires() as (source, target):
        run((source.port, target.port))
        return source.counted + target.counted
