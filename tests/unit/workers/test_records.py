"""Records of runs, of which each belongs to one worker, and to nobody when that worker has died."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psutil

from workers.records import Records


def test_a_run_is_held_by_one_worker(tmp_path: Path) -> None:
    one, other, run = Records(tmp_path), Records(tmp_path), uuid4()
    assert one.hold(run) is not None
    assert other.hold(run) is None
    assert list(other.take_over()) == []
    one.release(run)
    assert list(tmp_path.iterdir()) == []
    assert other.hold(run) is not None
    other.abandon()


def test_what_a_worker_leaves_is_taken_over_once(tmp_path: Path) -> None:
    one, other, third, run = Records(tmp_path), Records(tmp_path), Records(tmp_path), uuid4()
    assert one.hold(run) is not None
    one.abandon()
    (record,) = other.take_over()
    assert record.flow_run_id == run
    assert record.find_process() is None
    assert list(third.take_over()) == []
    other.release(run)
    assert list(tmp_path.iterdir()) == []


def test_a_record_belongs_to_nobody_when_its_worker_was_killed(tmp_path: Path) -> None:
    run = uuid4()
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom uuid import UUID\nfrom workers.records import Records\n"
        "records = Records(Path(sys.argv[1]))\nrecords.hold(UUID(sys.argv[2]))\nprint('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(run)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        records = Records(tmp_path)
        assert list(records.take_over()) == []
    finally:
        holder.kill()
        holder.communicate()
    assert [record.flow_run_id for record in records.take_over()] == [run]
    records.abandon()


def test_a_process_is_known_by_its_start_too(tmp_path: Path) -> None:
    records, run = Records(tmp_path), uuid4()
    record = records.hold(run)
    assert record is not None
    assert record.find_process() is None
    record.note_process(os.getpid())
    assert record.find_process() == psutil.Process()
    record.path.write_text(f'{{"pid": {os.getpid()}, "started": 1.0}}')
    assert record.find_process() is None
    records.abandon()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.json").touch()
    assert list(Records(tmp_path).take_over()) == []
    assert (tmp_path / "notes.json").exists()
