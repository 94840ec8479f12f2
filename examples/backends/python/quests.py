"""A backend of the gateway, with nothing but Python's standard library. It serves quest:* and says who may connect.

    python3 quests.py --port 9000 --secret-file ../secret
"""

import argparse
import hashlib
import hmac
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEEP_ANSWERS = 120  # seconds, as the gateway does

options = argparse.ArgumentParser()
options.add_argument("--port", type=int, default=9000)
options.add_argument("--secret-file", required=True)
options = options.parse_args()
with open(options.secret_file, encoding="utf-8") as file:
    SECRETS = [line.strip().encode() for line in file if line.strip() and not line.startswith("#")]

lock = threading.Lock()
quests_of = {}  # of a user: quests by id. A real backend has a database. Guarded by lock.
answered = {}  # (until, answer) by idempotency key; guarded by lock


def is_genuine(header, body):
    """Says whether the gateway sent a body, within the last five minutes."""
    stamp, *signatures = (header or "").split(",")
    match = re.fullmatch(r"t=(\d{1,12})", stamp)
    if not match or abs(time.time() - int(match[1])) > 300:
        return False
    wanted = ["v1=" + hmac.new(s, match[1].encode() + b"." + body, hashlib.sha256).hexdigest() for s in SECRETS]
    return any(hmac.compare_digest(one.encode(), w.encode()) for one in signatures for w in wanted)


def connect(request):
    if request["player"]["userId"] == "banned":
        return {"error": {"code": "WORLD_CLOSED", "message": "The world is closed to you."}}
    return {"rooms": ["game:world"], "data": {"motd": "Welcome!"}}


def accept(request):
    user, quest_id = request["player"]["userId"], request["payload"]["questId"]
    quests = quests_of.setdefault(user, {})
    if len(quests) >= 3 and quest_id not in quests:
        return {"error": {"code": "QUEST_FULL", "message": "You have too many quests.", "most": 3}}
    quest = {"questId": quest_id, "state": "open", "acceptedAt": int(time.time() * 1000)}
    quests[quest_id] = quest
    return {"data": quest, "casts": [{"userId": user, "event": "quest:accepted", "data": quest}]}


def list_quests(request):
    return {"data": {"quests": list(quests_of.get(request["player"]["userId"], {}).values())}}


HANDLERS = {"connect": connect, "quest:accept": accept, "quest:list": list_quests}


def perform(request):
    """Handles a request. With an idempotency key it is done once: a key belongs to a user and an event."""
    key = request.get("idempotencyKey") and (request["player"]["userId"], request["event"], request["idempotencyKey"])
    now = time.monotonic()
    with lock:
        if key in answered and answered[key][0] > now:
            return answered[key][1]
        handler = HANDLERS.get(request["event"])
        answer = handler(request) if handler else {"error": {"code": "NOT_FOUND", "message": "There is no such event."}}
        if key:
            for old in [k for k, (until, _) in answered.items() if until <= now]:
                del answered[old]
            answered[key] = (now + KEEP_ANSWERS, answer)
        return answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # so that connections are kept
    disable_nagle_algorithm = True  # else an answer waits 40 ms for an acknowledgement

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not is_genuine(self.headers.get("Gateway-Signature"), body):
            self.answer(401, b"")
            return
        self.answer(200, json.dumps(perform(json.loads(body))).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
print(f"listening on {server.server_address[1]}", flush=True)
server.serve_forever()
