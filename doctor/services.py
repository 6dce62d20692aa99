"""The doctor's look at Redis, Prefect and the mail server."""

import os
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import prefect
import redis.asyncio
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from redis.exceptions import RedisError

from deployments.deploy import WORK_POOL, connect_async, find_differences
from doctor import MAIL, PREFECT, REDIS
from doctor.findings import Finding, Status, compare_clocks
from hr.mail.transport import SmtpTransport
from settings import Settings
from shim.settings import DEFAULT_BROKER, ShimSettings
from utils.redaction import redact_text

# A waiting call that is evicted is lost.
KEEPS_ALL = "noeviction"
KEY_SECONDS = 10
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


async def examine_redis(shim: ShimSettings, limit: float) -> AsyncGenerator[Finding, None]:
    """Look at the broker of the Celery callers, and at the result backend if it is another server.

    Args:
        shim: Where they are.
        limit: Seconds that an answer may take.
    """
    for url in dict.fromkeys((shim.broker_url, shim.result_backend)):
        if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
            told = f"{redact_text(url)} is not looked at: the suite is tested with Redis"
            yield Finding(REDIS, "reachable", Status.WARNING, told)
            continue
        client = redis.asyncio.from_url(url, socket_timeout=limit, socket_connect_timeout=limit)
        try:
            async for finding in _examine_redis_server(client, redact_text(url)):
                yield finding
        except (RedisError, OSError) as error:
            is_default = url == DEFAULT_BROKER
            yield Finding(
                REDIS,
                "reachable",
                Status.WARNING if is_default else Status.FAILURE,
                f"{redact_text(url)}: {' '.join(str(error).split())}",
                "Check CELERY_BROKER_URL and CELERY_RESULT_BACKEND, and that Redis runs"
                + (" (not needed where nothing calls through Celery)" if is_default else ""),
            )
        finally:
            await client.aclose()


async def _examine_redis_server(client: Any, address: str) -> AsyncGenerator[Finding, None]:
    await client.ping()
    started = time.perf_counter()
    await client.ping()
    latency = time.perf_counter() - started
    information = await client.info()
    told = f"Redis {information['redis_version']} at {address}, answers in {latency * 1000:.1f} ms"
    yield Finding(REDIS, "reachable", Status.OK, told)
    before = datetime.now(UTC)
    seconds, microseconds = await client.time()
    middle = before + (datetime.now(UTC) - before) / 2
    yield compare_clocks(REDIS, seconds + microseconds / 1e6 - middle.timestamp())
    key = f"hr-flows-doctor-{uuid4()}"
    await client.set(key, "1", ex=KEY_SECONDS)
    await client.delete(key)
    yield Finding(REDIS, "rights", Status.OK, "keys can be written and deleted")
    policy = information.get("maxmemory_policy", KEEPS_ALL)
    if policy == KEEPS_ALL or not information.get("maxmemory"):
        yield Finding(REDIS, "memory", Status.OK, "nothing is evicted")
    else:
        yield Finding(
            REDIS,
            "memory",
            Status.WARNING,
            f"when memory is full, keys are evicted ({policy}): calls and results may be lost",
            f"Set maxmemory-policy {KEEPS_ALL}",
        )


async def examine_prefect() -> AsyncGenerator[Finding, None]:
    """Look at the Prefect server: version, deployments, workers.

    Raises:
        DeployError: It cannot be reached.
    """
    if get_current_settings().api.url is None:
        yield Finding(
            PREFECT,
            "configured",
            Status.WARNING,
            "PREFECT_API_URL is not set: nothing can run",
            "Set it, or run `make up`, which starts a server and says its address",
        )
        return
    async with connect_async() as client:
        async for finding in _examine_prefect_server(client):
            yield finding
        yield await _check_workers(client)
    differences = await find_differences()
    if differences:
        told = f"{len(differences)} differences from prefect.yaml, for example: {differences[0]}"
        yield Finding(PREFECT, "deployments", Status.WARNING, told, "Run `make deploy`")
    else:
        yield Finding(PREFECT, "deployments", Status.OK, "as prefect.yaml says")


async def _examine_prefect_server(client: PrefectClient) -> AsyncGenerator[Finding, None]:
    version = await client.api_version()
    before = datetime.now(UTC)
    started = time.perf_counter()
    answer = await client.hello()
    latency = time.perf_counter() - started
    told = f"Prefect {version} at {client.api_url}, answers in {latency * 1000:.0f} ms"
    if version == prefect.__version__:
        yield Finding(PREFECT, "reachable", Status.OK, told)
    else:
        yield Finding(
            PREFECT,
            "reachable",
            Status.WARNING,
            f"{told}; this machine has {prefect.__version__}",
            "Install the same version on both",
        )
    if "date" in answer.headers:
        # The header has whole seconds.
        difference = parsedate_to_datetime(answer.headers["date"]) - before
        yield compare_clocks(PREFECT, difference.total_seconds(), precision=1.0)


async def _check_workers(client: PrefectClient) -> Finding:
    try:
        await client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        return Finding(PREFECT, "workers", Status.FAILURE, f"there is no work pool {WORK_POOL!r}", "Run `make deploy`")
    workers = await client.read_workers_for_work_pool(WORK_POOL)
    online = [worker.name for worker in workers if str(getattr(worker.status, "value", worker.status)) == "ONLINE"]
    if online:
        return Finding(PREFECT, "workers", Status.OK, f"{len(online)} online: {', '.join(sorted(online))}")
    return Finding(
        PREFECT,
        "workers",
        Status.WARNING,
        f"no worker of the pool {WORK_POOL!r} is online: runs wait",
        f"Run `python -m workers --pool {WORK_POOL}` on a machine that is to run flows",
    )


async def examine_mail(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at the mail server, without sending anything; without one, at the folder for mails.

    Args:
        settings: Where it is.

    Raises:
        MailServerUnreachable: There is no connection to be had, or the server does not let us in.
    """
    if settings.mail_url is None:
        folder = settings.mail_folder
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if _is_writable(there):
            yield Finding(MAIL, "configured", Status.OK, f"MAIL_URL is not set: mails are written to {folder}")
        else:
            yield Finding(
                MAIL, "configured", Status.FAILURE, f"no mail can be written to {folder}", "Set MAIL_URL or DATA_DIR"
            )
        return
    parts = urlsplit(settings.mail_url.get_secret_value())
    transport = SmtpTransport(settings.mail_url.get_secret_value(), settings.mail_timeout)
    started = time.perf_counter()
    try:
        cipher = await transport.greet()
    finally:
        await transport.close()
    latency = time.perf_counter() - started
    account = f" as {parts.username!r}" if parts.username else ""
    told = f"{parts.hostname} lets us in{account}, within {latency * 1000:.0f} ms"
    yield Finding(MAIL, "reachable", Status.OK, told)
    if cipher or parts.hostname in LOOPBACK:
        yield Finding(MAIL, "encryption", Status.OK, cipher or "none, on this machine itself")
    else:
        remedy = "Begin MAIL_URL with smtp+starttls:// or smtps://"
        yield Finding(MAIL, "encryption", Status.WARNING, "mails travel unencrypted", remedy)


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK)
