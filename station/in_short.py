"""A route of Lockgate's own in Prefect's API: runs without what they were given.

Prefect gives a run with its brief in it, and reads more beside it: a thousand of them take its server a second. Whoever
lists what waits needs a name and a state.
"""

import json

import sqlalchemy as sa
from fastapi import APIRouter, Body, Depends, Response
from prefect.server.api import server
from prefect.server.database import PrefectDBInterface, provide_database_interface
from prefect.server.schemas.filters import FlowRunFilter
from prefect.server.schemas.sorting import FlowRunSort

MOST = 1000
router = APIRouter(prefix="/lockgate", tags=["Lockgate"])


def add() -> None:
    """A server that is made from now on answers it too, to whoever it answers anything."""
    server.API_ROUTERS = (*server.API_ROUTERS, router)  # type: ignore[assignment]


@router.post("/runs/filter")
async def runs(
    flow_runs: FlowRunFilter = Body(),  # noqa: B008 - so FastAPI is told
    sort: FlowRunSort = Body(FlowRunSort.EXPECTED_START_TIME_ASC),  # noqa: B008
    limit: int = Body(MOST, ge=0, le=MOST),
    offset: int = Body(0, ge=0),
    db: PrefectDBInterface = Depends(provide_database_interface),  # noqa: B008
) -> Response:
    """As `/flow_runs/filter` has them, and of each only what is here."""
    run, state = db.FlowRun, db.FlowRunState
    wanted = (
        sa.select(
            run.id,
            run.name,
            run.auto_scheduled,
            state.type,
            state.name,
            state.message,
            state.timestamp,
            state.state_details,
        )
        .join(state, run.state_id == state.id)
        .where(flow_runs.as_sql_filter())
        .order_by(*sort.as_sql_sort(), run.id)
        .limit(limit)
        .offset(offset)
    )
    async with db.session_context() as session:
        found = (await session.execute(wanted)).all()
    told = [
        {
            "id": str(id_), "name": title, "auto_scheduled": by_schedule, "state_type": kind.value, "state_name": name,
            "state": {
                "type": kind.value, "name": name, "message": message, "timestamp": at.isoformat(),
                "state_details": {"pause_key": details.pause_key},
            },
        }
        for id_, title, by_schedule, kind, name, message, at, details in found
    ]  # fmt: skip
    return Response(json.dumps(told), media_type="application/json")
