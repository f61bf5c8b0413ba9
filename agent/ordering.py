"""Orders: asks worklists what is ahead, keeps what is told, and has the priors fetched before the exam."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog

from agent.dicom.answers import found_order
from agent.hl7.orders import TYPES, ToldOrder, parse_orders
from agent.messages import MessageType
from agent.steps import Tools
from config.settings import Settings, WorklistSettings
from storage.orders import Orders
from storage.outside_records import Order

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
                take_order(order, tools.orders, tools.settings)
                kept += 1
        log.info(
            "worklist answered", worklist=worklist.name, modality=modality, entries=len(orders), orders=kept
        )
    return kept


def order_messages(orders: Orders, settings: Settings) -> dict[str, MessageType]:
    """How messages are taken that tell of orders, by MSH-9.1."""
    kind = MessageType(
        lambda message, now: parse_orders(message.segments, message.sender, now),
        partial(_take_told, orders, settings),
    )
    return dict.fromkeys(TYPES, kind)


def _take_told(orders: Orders, settings: Settings, told: Sequence[ToldOrder]) -> str:
    cancelled = [one.order for one in told if one.is_cancelled]
    for one in told:
        if not one.is_cancelled:
            take_order(one.order, orders, settings)
    forgotten = sum(orders.cancel(order) for order in cancelled)
    return f"orders: {len(told) - len(cancelled)} taken, {forgotten} of {len(cancelled)} cancelled ones known"


def take_order(order: Order, orders: Orders, settings: Settings) -> Order:
    """Keeps an order and, once for each, has the archives asked for the patient's earlier exams.

    Raises:
        ValueError: if the order names no patient ID, or neither accession number nor study.
    """
    rules = settings.reading.orders
    archives = settings.archives_for_priors() if rules.fetch_priors else ()
    expires_at = order.heard_at + timedelta(seconds=rules.fetch_seconds)
    return orders.put(order, [archive.name for archive in archives], expires_at)


def forget_orders(tools: Tools) -> None:
    """Drops the orders that nobody has told of for `orders.keep_days`."""
    days = tools.settings.reading.orders.keep_days
    forgotten = tools.orders.forget(tools.clock() - timedelta(days=days))
    if forgotten:
        log.info("old orders forgotten", orders=forgotten)
