"""What is known of who a study is about and whose it is: from the database, the settings and this machine."""

import socket

from agent.dicom.deidentifying import Identity, Pseudonyms, name_parts
from agent.exporting.life import Life
from agent.exporting.words import Words
from agent.store import Store
from config.settings import Settings
from storage.records import ClosingKind


def identity_of(store: Store, life: Life) -> Identity:
    """What the store knows of the patient, beside what the objects say; merged numbers and ordered exams too."""
    study = life.study
    history = store.index.history(study.identifiers)
    orders = store.orders.of_study(study.study_instance_uid, study.accession_number)
    mine = [study, *(one for one in history.studies if set(one.identifiers) & set(study.identifiers))]
    names = {one.patient_name for one in mine} | {one.patient_name for one in orders}
    births = {one.birth_date for one in mine} | {one.birth_date for one in orders}
    numbers = {identifier.patient_id for one in mine for identifier in one.identifiers}
    for registered in (one for told in history.known.demographics.values() for one in told):
        names.add(registered.patient_name)
        births.add(registered.birth_date)
    for pair in history.known.surviving.items():
        numbers |= {identifier.patient_id for identifier in pair}
    for one in mine:
        numbers |= {one.patient_id, one.accession_number}
    for order in orders:
        numbers |= {order.patient_id, order.accession_number}
        numbers |= {order.placer_order_number, order.filler_order_number}
    parts = frozenset(part for name in names for part in name_parts(name))
    return Identity(parts, frozenset(numbers - {""}), frozenset(births - {""}))


def words_of(
    store: Store, settings: Settings, life: Life, identity: Identity, pseudonyms: Pseudonyms
) -> Words:
    """Everything that may not leave, once all objects were gone through."""
    for instance in life.instances:
        for uid in (instance.sop_instance_uid, instance.series_instance_uid, instance.study_instance_uid):
            pseudonyms.uid(uid)
    for results in life.results.values():
        for result in results:
            pseudonyms.uid(result.sop_instance_uid)
    uid = life.study.study_instance_uid
    hold = store.holds.of_study(uid)
    closings = store.jobs.closings.of_study(uid)
    spoken = {closing.because for closing in closings if closing.kind is ClosingKind.WITHDRAWN}
    spoken |= {hold.reason} if hold is not None else set()
    return Words(identity, pseudonyms.replaced, frozenset(spoken - {""}), _site(settings, life))


def _site(settings: Settings, life: Life) -> frozenset[str]:
    """Names of systems and machines, of whoever gives numbers, and of the users here."""
    peers = settings.peers
    configured = (*peers.destinations, *peers.archives, *peers.worklists, *peers.senders, *peers.receivers)
    names = {
        str(getattr(peer, key, "") or "")
        for peer in configured
        for key in ("name", "ae_title", "host", "url")
    }
    for instance in life.instances:
        names |= {instance.calling_ae_title, instance.called_ae_title}
    for deliveries in life.deliveries.values():
        names |= {delivery.destination for delivery in deliveries}
    issuers = {identifier.issuer for identifier in life.study.identifiers} | {life.study.issuer_of_patient_id}
    return frozenset((names | issuers | {socket.gethostname(), settings.agent.device.ae_title}) - {""})
