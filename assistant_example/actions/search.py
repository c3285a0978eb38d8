"""Actions that look something up and leave what they found in a slot (nothing found: an empty slot)."""

from __future__ import annotations

from typing import Any

from rasa_sdk import Action, Tracker
from rasa_sdk.events import EventType, SlotSet
from rasa_sdk.executor import CollectingDispatcher

from . import catalogue


class SearchRentalCar(Action):
    def name(self) -> str:
        return "action_search_rental_car"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        found = catalogue.offers("cars", tracker.get_slot("trip_destination"))
        return [SlotSet("car_rental_search_results_readable", catalogue.readable(found))]


class SearchHotel(Action):
    def name(self) -> str:
        return "action_search_hotel"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        found = catalogue.offers("hotels", tracker.get_slot("trip_destination"), tracker.get_slot("hotel_price_range"))
        return [SlotSet("hotel_search_results_readable", catalogue.readable(found))]


class SearchExcursions(Action):
    def name(self) -> str:
        return "action_search_excursions"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        found = catalogue.offers("excursions", tracker.get_slot("trip_destination"))
        return [SlotSet("excursion_search_results_readable", catalogue.readable(found))]


class AskExcursionName(Action):
    """Asks with a button for every excursion of the city."""

    def name(self) -> str:
        return "action_ask_excursion_name"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        found = catalogue.offers("excursions", tracker.get_slot("trip_destination"))
        dispatcher.utter_message(
            text=f"Which excursion would you like? {catalogue.readable(found)}",
            buttons=[
                {"title": offer["name"], "payload": f"/SetSlots(excursion_name={offer['name']})"} for offer in found
            ],
        )
        return []


class SearchFlights(Action):
    def name(self) -> str:
        return "action_search_flights"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        found = catalogue.flights(
            tracker.get_slot("flight_search_start_date"), tracker.get_slot("flight_search_end_date")
        )
        lines = [f"{flight['id']} on {flight['day']} at {flight['time']}" for flight in found]
        return [SlotSet("flight_search_results_readable", ", ".join(lines) or None)]


class FindFlight(Action):
    def name(self) -> str:
        return "action_find_flight"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        return [SlotSet("booked_flight", catalogue.bookings(tracker.get_slot("customer_id"))["flight"])]


class ListBookings(Action):
    def name(self) -> str:
        return "action_list_bookings"

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: dict[str, Any]) -> list[EventType]:
        booked = catalogue.bookings(tracker.get_slot("customer_id"))
        entries = [entry for entry in (booked["flight"], *booked["others"]) if entry]
        return [SlotSet("bookings_readable", "; ".join(entries) or None)]
