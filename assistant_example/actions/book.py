"""Actions on the way to a booking: check the choice, name the price, book."""

from __future__ import annotations

from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.events import EventType, SlotSet
from rasa_sdk.executor import CollectingDispatcher

from . import catalogue

_CHOICE = {"car": "car_rental_selection", "hotel": "hotel_name", "excursion": "excursion_name"}
_UNIT = {"car": "a day", "hotel": "a night", "excursion": "in all"}
_GUIDE_PRICE = 80


class _ValidateChoice:
    """Takes back a choice that was not on offer, so that the assistant asks again.

    Not an `Action` itself: rasa_sdk registers every subclass of that.
    """

    slot: str
    results: str
    refusal: str

    def name(self) -> str:
        return f"validate_{self.slot}"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        choice = tracker.get_slot(self.slot)
        offers = (tracker.get_slot(self.results) or "").split(", ")
        if choice is None or choice in {offer.partition(" on ")[0] for offer in offers}:
            return []
        dispatcher.utter_message(response=self.refusal)
        return [SlotSet(self.slot, None)]


class ValidateCarRentalSelection(_ValidateChoice, Action):
    slot = "car_rental_selection"
    results = "car_rental_search_results_readable"
    refusal = "utter_car_not_offered"


class ValidateHotelName(_ValidateChoice, Action):
    slot = "hotel_name"
    results = "hotel_search_results_readable"
    refusal = "utter_hotel_not_offered"


class ValidateExcursionName(_ValidateChoice, Action):
    slot = "excursion_name"
    results = "excursion_search_results_readable"
    refusal = "utter_excursion_not_offered"


class ValidateSelectedFlightId(_ValidateChoice, Action):
    slot = "selected_flight_id"
    results = "flight_search_results_readable"
    refusal = "utter_flight_not_offered"


class Quote(Action):
    """Names what is about to be booked and its price. Gold members pay a tenth less."""

    def name(self) -> str:
        return "action_quote"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        kind = tracker.get_slot("booking_kind")
        tier = _membership(tracker)
        price = _price(kind, tracker) * (90 if tier == "gold" else 100) // 100
        chosen = tracker.get_slot(_CHOICE[kind])
        return [
            SlotSet("membership", tier),
            SlotSet("booking_summary", f"{chosen} at CHF {price} {_UNIT[kind]}"),
        ]


class Book(Action):
    def name(self) -> str:
        return "action_book"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        kind = tracker.get_slot("booking_kind")
        number = catalogue.reference(kind, tracker.get_slot("customer_id"), tracker.get_slot("booking_summary"))
        return [SlotSet("booking_reference", number)]


class CheckChangeFee(Action):
    def name(self) -> str:
        return "action_check_change_fee"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        wanted = tracker.get_slot("selected_flight_id")
        fee = next((flight["fee"] for flight in catalogue.table("flights") if flight["id"] == wanted), 0)
        return [
            SlotSet("flight_change_fee", float(fee)),
            SlotSet("booking_summary", f"flight {wanted} at a fee of CHF {fee}"),
        ]


class ChangeFlight(Action):
    def name(self) -> str:
        return "action_change_flight"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        number = catalogue.reference("flight", tracker.get_slot("customer_id"), tracker.get_slot("selected_flight_id"))
        return [SlotSet("booking_reference", number)]


def _price(kind: str, tracker: Tracker) -> int:
    """The price of the traveller's choice in whole francs, 0 for what is not in the catalogue."""
    found = catalogue.offers(f"{kind}s", tracker.get_slot("trip_destination"))
    chosen = tracker.get_slot(_CHOICE[kind])
    price = next((int(offer["price"]) for offer in found if offer["name"] == chosen), 0)
    if kind == "excursion":
        price *= int(tracker.get_slot("excursion_party_size") or 1)
        price += _GUIDE_PRICE if tracker.get_slot("excursion_guide") else 0
    return price


def _membership(tracker: Tracker) -> str:
    """The `tier` that the channel sent along with the last message."""
    said = tracker.get_last_event_for("user") or {}
    return str((said.get("metadata") or {}).get("tier", "standard"))
