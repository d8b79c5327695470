#!/usr/bin/env python3
"""Starts the BigQuery emulator of the Python registry (bqemulator 1.4.0) without network.

    bqemu.py start --rest-port N --grpc-port N --project P [--ephemeral | --persistent --data-dir D]

All arguments go to the emulator's own command line. What this launcher adds:

- DuckDB's spatial extension comes from its package instead of a download. It has to lie in a home
  folder, so the emulator gets one of its own: BQEMU_HOME, default `bqemu-home` beside the venv.
- Six corrections without which the Storage Write API cannot be used, see `correct`.
- With BQEMU_EXIT_WITH_STDIN=1 it ends when its standard input closes, so that a test that dies
  leaves nothing behind.

The corrections touch private names. Each is checked, so another version fails here and says so.
"""

import asyncio
import inspect
import os
import shutil
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

VERSION = "1.4.0"

# Started when they are needed.
THREADS = 512


def main() -> None:
    home = Path(os.environ.get("BQEMU_HOME") or Path(sys.prefix).parent / "bqemu-home").resolve()
    os.environ["HOME"] = str(home)
    os.environ.setdefault("BQEMU_ENABLE_FORMAT_EXTENSIONS", "false")
    place_extension(home)
    correct()
    if os.environ.get("BQEMU_EXIT_WITH_STDIN") == "1":
        threading.Thread(target=end_with_stdin, daemon=True).start()
    from bqemulator.cli import main as emulator

    emulator()


def place_extension(home: Path) -> None:
    """Copies the spatial extension to where this version of DuckDB looks for it."""
    import duckdb
    import duckdb_extension_spatial

    version = f"v{duckdb.__version__}"
    name = "spatial.duckdb_extension"
    package = Path(duckdb_extension_spatial.__file__).parent
    found = package / "extensions" / version / name
    if not found.is_file():
        fail(f"package duckdb-extension-spatial has nothing for DuckDB {version}")
    with duckdb.connect() as connection:
        platform = connection.execute("PRAGMA platform").fetchone()[0]
    place = home / ".duckdb" / "extensions" / version / platform / name
    if place.is_file() and place.stat().st_size == found.stat().st_size:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(f".{os.getpid()}")
    shutil.copyfile(found, part)
    part.rename(place)  # another emulator may do the same at this moment


def correct() -> None:
    """Mends what keeps rows from arriving, or lets them vanish."""
    import bqemulator
    from bqemulator.api.routes import tabledata
    from bqemulator.grpc_api import write_servicer
    from bqemulator.storage.engine import DuckDBEngine
    from bqemulator.versioning.snapshots import SnapshotManager

    if bqemulator.__version__ != VERSION:
        fail(f"made for bqemulator {VERSION}, found {bqemulator.__version__}")
    handler = private(write_servicer, "BigQueryWriteHandler")
    schema_of = private(tabledata, "_build_arrow_schema", ["fields_raw"])
    private(write_servicer, "_table_arrow_schema", ["table_meta"])
    bind = private(
        handler, "_ensure_stream_bound", ["self", "stream_name", "bound_ctx", "context"]
    )
    append = private(
        handler,
        "_perform_append",
        ["self", "bound_stream", "rows_table", "offset", "max_buffered_rows"],
    )
    capture = private(
        SnapshotManager, "capture", ["self", "project_id", "dataset_id", "table_id", "kind"]
    )

    # Columns of type STRUCT lose their inner fields on the way to AppendRows.
    def field(column) -> dict:
        shape = {"name": column.name, "type": column.type, "mode": column.mode}
        inner = getattr(column, "fields", None)
        if inner:
            shape["fields"] = [field(one) for one in inner]
        return shape

    write_servicer._table_arrow_schema = lambda table: schema_of(
        [field(column) for column in table.schema_.fields]
    )

    # Every append copies the whole table for time travel, which nobody here needs.
    def capture_if_asked(self, project, dataset, table, *, kind="AUTO"):
        if kind == "AUTO":
            return None
        return capture(self, project, dataset, table, kind=kind)

    SnapshotManager.capture = capture_if_asked

    # Requests after the first of a connection need not name the stream.
    def bind_or_keep(self, name, bound, context):
        return bound if bound is not None and not name else bind(self, name, bound, context)

    handler._ensure_stream_bound = bind_or_keep

    # Rows that could not be stored still moved the stream's end: sent again, they were "known".
    def append_or_undo(self, stream, rows, offset, most):
        with stream.lock:
            before = (stream.next_offset, stream.row_count)
            try:
                return append(self, stream, rows, offset, most)
            except BaseException:
                stream.next_offset, stream.row_count = before
                raise

    handler._perform_append = append_or_undo

    # Appends and queries use one connection from several threads: one waits for the connection with
    # the interpreter's lock in its hand, another for that lock with the connection in its. So all
    # work on tables is done by the main thread.
    flush = private(handler, "_flush_to_target", ["self", "stream", "rows"])
    start = private(DuckDBEngine, "start", ["self"])
    execute = private(DuckDBEngine, "execute", ["self", "sql", "parameters"])
    fetch = private(DuckDBEngine, "fetch_arrow", ["self", "sql", "parameters"])
    main_loop = []

    # Each open connection of AppendRows, and each that was cut, keeps one of the loop's threads, of
    # which there are six on two processors: then no append is answered any more.
    async def start_and_tell(self):
        main_loop[:] = [asyncio.get_running_loop()]
        main_loop[0].set_default_executor(ThreadPoolExecutor(THREADS))
        await start(self)

    def in_main_thread(work):
        if threading.current_thread() is threading.main_thread():
            return work()
        done = Future()

        def run():
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        main_loop[0].call_soon_threadsafe(run)
        return done.result()

    def execute_in_main_thread(self, sql, parameters=None):
        if threading.current_thread() is threading.main_thread():
            return execute(self, sql, parameters)
        return in_main_thread(lambda: Rows(execute(self, sql, parameters)))

    DuckDBEngine.start = start_and_tell
    DuckDBEngine.execute = execute_in_main_thread
    DuckDBEngine.fetch_arrow = lambda self, sql, parameters=None: in_main_thread(
        lambda: fetch(self, sql, parameters)
    )
    handler._flush_to_target = lambda self, stream, rows: in_main_thread(
        lambda: flush(self, stream, rows)
    )


class Rows:
    """All rows of a result, for a thread that must not touch the connection."""

    def __init__(self, result):
        self.description = result.description
        self.rows = iter(result.fetchall() if result.description else [])

    def fetchall(self):
        return list(self.rows)

    def fetchone(self):
        return next(self.rows, None)


def private(owner, name: str, parameters=None):
    """The private `name` of `owner`, checked to be what the corrections were written for."""
    found = getattr(owner, name, None)
    if found is None:
        fail(f"bqemulator has no {name} any more")
    if parameters is not None and list(inspect.signature(found).parameters) != parameters:
        fail(f"bqemulator's {name} takes other parameters than expected")
    return found


def end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def fail(why: str) -> None:
    sys.exit(f"bqemu: {why}")


if __name__ == "__main__":
    main()
