# A migration tool's program: hands its words, its folder, its environment and its files over to keeper.py.
import json
import os
import socket
import sys

client = socket.socket(socket.AF_UNIX)
client.connect(os.environ["KEEPER"])
socket.send_fds(client, [b"x"], [0, 1, 2])
words = [os.path.basename(sys.argv[0])] + sys.argv[1:]
client.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode())
client.shutdown(socket.SHUT_WR)
sys.exit(int(client.recv(16) or b"70"))
