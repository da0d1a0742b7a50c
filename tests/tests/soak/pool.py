"""An application with SQLAlchemy's pool: every connection lives a second at most, and none is tried before it is used."""

import os
import threading
import time

from sqlalchemy import create_engine, text

WORKERS = 4
NAME = os.environ["NAME"]
URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")

engine = create_engine(URL, pool_size=WORKERS, max_overflow=0, pool_recycle=1, pool_pre_ping=False)
log = open(f"/soak/{NAME}.log", "a", buffering=1)
lock = threading.Lock()
parked = set()


def is_told_to_pause(worker):
    """Says in a file that all workers pause, as long as they are told to."""
    told = os.path.exists("/soak/pause")
    with lock:
        (parked.add if told else parked.discard)(worker)
        mark = f"/soak/{NAME}.parked"
        if len(parked) == WORKERS:
            open(mark, "w").close()
        elif os.path.exists(mark):
            os.remove(mark)
    return told


def work(worker):
    number = 0
    while True:
        if is_told_to_pause(worker):
            time.sleep(0.05)
            continue
        number += 1
        began = time.monotonic()
        try:
            with engine.begin() as connection:
                connection.execute(
                    text("INSERT INTO soak (client, number) VALUES (:client, :number)"),
                    {"client": f"{NAME} {worker}", "number": number},
                )
            said = "ok"
        except Exception as error:  # Whatever it is, it is a failed query.
            said = "FAILED " + " ".join(str(error).split())
        with lock:
            log.write(f"{time.time():.3f} {time.monotonic() - began:.3f} {said}\n")
        time.sleep(0.05)


for worker in range(WORKERS):
    threading.Thread(target=work, args=(worker,)).start()
