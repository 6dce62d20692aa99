"""What a run's process need not ask its server because its worker has just asked: see `workers.recent_reads`."""

from uuid import UUID

from prefect import results


def answer_default_result_storage(block_document: UUID | None) -> None:
    """Answer in this process which block holds results by default; each flow asks twice, over connections of their own.

    Args:
        block_document: The server's answer to the worker: a block document, or None for no default.
    """

    def answer() -> UUID | None:
        return block_document

    async def answer_async() -> UUID | None:
        return block_document

    # Private to Prefect: see `workers.child`.
    results._read_server_default_result_storage_block_id = answer
    results._aread_server_default_result_storage_block_id = answer_async
