#!/usr/bin/env python3
"""ps shows the picture an administrator knows, and nothing that hears the network is root."""

import socket

from mail import *

# Connections held open, so that the programs that serve them are there to be seen.
held = [socket.create_connection(SMTP, timeout=PATIENCE), socket.create_connection(POP3, timeout=PATIENCE)]
for sock in held:
    sock.recv(100)
table = processes()
names = {pid: row[1] for pid, row in table.items()}


def parent_of(name):
    """The names of the parents of every process called `name`, its own forked children left out: they
    make deliveries or serve strangers."""
    parents = {names.get(row[0]) for row in table.values() if row[1] == name}
    return parents - {name} if len(parents) > 1 else parents


for name, parent in {
    "supervise": "svscan",
    "qmail-send": "supervise",
    "qmail-lspawn": "qmail-send",
    "qmail-rspawn": "qmail-send",
    "qmail-clean": "qmail-send",
    "qmail-queued": "supervise",
    "qmail-pspawn": "supervise",
    "tcpserver": "supervise",
    "multilog": "supervise",
}.items():
    check(name in names.values(), f"no {name} in the picture: {sorted(set(names.values()))}")
    check(parent_of(name) == {parent}, f"{name} is a child of {parent_of(name)}, not of {parent}")

supervised = sorted(row[3][1].decode() for row in table.values() if row[1] == "supervise")
for service in ("qmail-send", "qmail-smtpd", "qmail-pop3d", "queued", "pspawn"):
    check(any(s.rstrip("/").endswith(service) for s in supervised), f"{service} is not supervised: {supervised}")
check(supervised.count("log") == 5, f"not every service has its log supervised: {supervised}")

network = {"tcpserver", "qmail-smtpd", "qmail-popup", "qmail-pop3d", "qmail-remote"}
for pid, (_, name, uid, _) in table.items():
    check(not (name in network and uid == 0), f"{name} (pid {pid}) hears the network as root")
check({"qmail-smtpd", "qmail-popup"} <= set(names.values()), f"the servers are not seen: {sorted(set(names.values()))}")
print("\n".join(sorted(f"{row[2]:6} {row[1]}" for row in table.values())))
