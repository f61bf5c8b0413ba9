"""Orders: asks worklists what is ahead, keeps what is told, and has the priors fetched before the exam."""

from datetime import timedelta

import structlog

from agent.dicom.answers import found_order
from agent.steps import Tools
from config.settings import WorklistSettings
from storage.records import Order

log = structlog.get_logger()


def ask_worklist(worklist: WorklistSettings, tools: Tools) -> int:
    """Asks a worklist for the exams from today on (PS3.4 K.4.1) and keeps them; says how many were understood.

    Called by the clock. A worklist that does not answer is asked again at the next tick, and costs nobody else
    anything.
    """
    now = tools.clock()
    today = now.astimezone().date()
    last = today + timedelta(days=worklist.days_ahead)
    kept = 0
    for modality in worklist.modalities:
        answers = tools.peers.find_entries(worklist, modality, f"{today:%Y%m%d}", f"{last:%Y%m%d}")
        if answers.problem is not None:
            log.warning("worklist cannot be asked", worklist=worklist.name, reason=answers.problem)
            break
        if answers.note is not None:
            log.warning("worklist was not heard to its end", worklist=worklist.name, reason=answers.note)
        orders = [
            found_order(
                entry,
                worklist.name,
                now,
                assume_charset=worklist.assume_charset,
                default_issuer=worklist.default_issuer,
            )
            for entry in answers.datasets
        ]
        for order in orders:
            if order is not None:
                take_order(order, tools)
                kept += 1
        log.info(
            "worklist answered", worklist=worklist.name, modality=modality, entries=len(orders), orders=kept
        )
    return kept


def take_order(order: Order, tools: Tools) -> Order:
    """Keeps an order and, once for each, has the archives asked for the patient's earlier exams.

    Raises:
        ValueError: if the order names no patient ID, or neither accession number nor study.
    """
    rules = tools.settings.reading.orders
    archives = tools.settings.archives_for_priors() if rules.fetch_priors else ()
    expires_at = order.heard_at + timedelta(seconds=rules.fetch_seconds)
    return tools.orders.put(order, [archive.name for archive in archives], expires_at)


def forget_orders(tools: Tools) -> None:
    """Drops the orders that nobody has told of for `orders.keep_days`."""
    days = tools.settings.reading.orders.keep_days
    forgotten = tools.orders.forget(tools.clock() - timedelta(days=days))
    if forgotten:
        log.info("old orders forgotten", orders=forgotten)
