"""English, German, French and Spanish names of columns and events that are understood without a mapping."""

from collections.abc import Mapping
from typing import Final

VIEW, CART, PURCHASE, RATING = "view", "add_to_cart", "purchase", "rating"

EVENT_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("view", "views", "page_view_item", "pageview", "page_view", "product_view", "productview", "view_item",
         "viewed", "product viewed", "product_viewed", "detail", "detail_view", "detailproductview", "click", "clicks",
         "select_item", "read", "impression_click", "item_view", "watch", "visit", "open", "ansicht", "angesehen",
         "aufruf", "seitenaufruf", "produktansicht", "artikelansicht", "klick", "besuch", "vue",
         "consultation", "vista"),
        VIEW,
    ),
    **dict.fromkeys(
        ("add_to_cart", "addtocart", "add-to-cart", "add to cart", "cart", "basket", "add_to_basket", "product added",
         "product_added_to_cart", "cart_add", "add", "star", "like", "favorite", "favourite", "wishlist",
         "add_to_wishlist", "addtowishlist", "warenkorb", "in den warenkorb", "in_den_warenkorb", "merkliste",
         "wunschliste", "gemerkt", "panier", "ajout au panier", "ajout_panier", "carrito"), CART
    ),
    **dict.fromkeys(
        ("purchase", "purchases", "purchased", "transaction", "buy", "bought", "order", "ordered", "sale", "checkout",
         "order_completed", "order completed", "conversion", "placed_order", "product purchased",
         "completed_purchase", "kauf", "gekauft", "bestellung", "bestellt", "verkauf", "achat", "commande", "vente",
         "compra", "pedido", "venta"), PURCHASE
    ),
    **dict.fromkeys(("rating", "ratings", "rate", "rated", "review", "reviewed", "bewertung", "bewertet"), RATING),
}  # fmt: skip
"""Names of events that are understood without a mapping, in lower case -> canonical interaction type."""

_PRODUCT_NUMBERS = (
    "artikelnummer", "artikel_nummer", "artikelnr", "artikel_nr", "art_nr", "artnr", "artikel_id", "artikelid",
    "produktnummer", "produkt_nr", "produkt_id", "produktid", "id_produit", "ref_produit", "id_producto", "producto_id",
    "codigo_producto",
)  # fmt: skip
_PRICES = (
    "einzelpreis", "stuckpreis", "stueckpreis", "verkaufspreis", "preis", "prix_unitaire", "prix", "precio_unitario",
    "precio",
)  # fmt: skip
_QUANTITIES = ("menge", "anzahl", "stuckzahl", "stueckzahl", "stuck", "stueck", "quantite", "cantidad")

ORDER_COLUMNS: Final = frozenset(
    {"price", "quantity", "qty", "order_id", "unit_price", "amount", "bestellnummer", "bestell_nr", "auftragsnummer",
     "rechnungsnummer", "belegnummer", "numero_commande", "numero_pedido", *_PRICES, *_QUANTITIES}
)  # fmt: skip
"""Columns of a log of orders: without a column of event types, its events are purchases."""

SYNONYMS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "interactions": {
        "interaction_id": ("interaction_id", "event_id", "eventid", "interactionid", "row_id", "uuid"),
        "user_id": (
            "user_id", "userid", "user", "customer_id", "customerid", "customer", "client_id", "clientid", "shopper_id",
            "visitor_id", "visitorid", "member_id", "account_id", "buyer_id", "person_id", "profile_id", "uid",
            "reviewerid", "reviewer_id", "user_pseudo_id", "anonymous_id", "cookie_id", "device_id", "session_id",
            "sessionid", "user_session", "kundennummer", "kunden_nummer", "kundennr", "kunden_nr", "kunden_id",
            "kundenid", "kdnr", "kd_nr", "benutzer_id", "nutzer_id", "kunde", "benutzer", "nutzer", "besteller",
            "kaufer", "kaeufer", "id_client", "numero_client", "client", "acheteur", "utilisateur", "id_cliente",
            "cliente_id", "cliente", "comprador", "usuario", "email", "customer_email", "billing_email",
            "email_billing",
        ),
        "product_id": (
            "product_id", "productid", "item_id", "itemid", "item", "product", "article_id", "articleid", "sku",
            "item_sku", "product_sku", "stockcode", "asin", "content_id", "variant_id", "movieid", "movie_id",
            *_PRODUCT_NUMBERS, "artikel", "produkt", "article", "produit", "articulo", "producto", "item_name",
            "product_name", "pid", "iid",
        ),
        "interaction_type": (
            "interaction_type", "event_type", "eventtype", "event_name", "event", "action", "action_type", "type",
            "behavior_type", "behaviour_type", "behavior", "behaviour", "feedback_type", "activity", "ereignis",
            "ereignistyp", "ereignisart", "aktion", "vorgang", "evenement", "evento", "accion",
        ),
        "timestamp": (
            "timestamp", "time_stamp", "event_time", "eventtime", "event_timestamp", "created_at", "createdat",
            "datetime", "date_time", "occurred_at", "ts", "time", "unix_timestamp", "order_date", "date_created",
            "purchase_date", "invoicedate", "invoice_date", "t_dat", "unixreviewtime", "event_date", "date", "day",
            "zeitstempel", "zeitpunkt", "bestelldatum", "kaufdatum", "auftragsdatum", "rechnungsdatum", "belegdatum",
            "erstellt_am", "zeit", "datum", "horodatage", "date_commande", "date_achat", "fecha_hora", "fecha_pedido",
            "fecha_compra", "fecha",
        ),
        "rating": ("rating", "stars", "overall", "score", "review_rating", "bewertung", "sterne"),
        "price": ("price", "unit_price", "unitprice", "item_price", "product_price", "amount", "value", *_PRICES),
        "quantity": ("quantity", "qty", "qty_ordered", "item_quantity", "product_qty", "units", "count", *_QUANTITIES),
        "request_id": ("request_id",),
        "variant": ("variant",),
    },
    "products": {
        "product_id": (
            "product_id", "productid", "item_id", "itemid", "sku", "article_id", "id", "variant_sku", "handle", "asin",
            "movieid", *_PRODUCT_NUMBERS, "artikel", "produkt", "article", "produit", "articulo", "producto",
        ),
        "name": (
            "name", "title", "product_name", "item_name", "prod_name", "product_title", "description", "bezeichnung",
            "artikelbezeichnung", "produktbezeichnung", "artikelname", "produktname", "titel", "nom_produit", "libelle",
            "designation", "nombre_producto", "descripcion",
        ),
        "category": (
            "category", "categories", "product_category", "category_name", "item_category", "category_l1",
            "product_type", "type", "department_name", "category_code", "category_id", "genres", "warengruppe",
            "kategorie", "produktgruppe", "artikelgruppe", "produktkategorie", "categorie", "categoria",
        ),
        "brand": (
            "brand", "vendor", "manufacturer", "item_brand", "brand_name", "store", "brands", "marke", "hersteller",
            "marque", "fabricant", "marca", "fabricante",
        ),
        "price": ("price", "sale_price", "regular_price", "variant_price", "unit_price", "item_price", *_PRICES),
        "rating": ("rating", "average_rating", "avg_rating"),
        "num_reviews": ("num_reviews", "review_count", "rating_number", "reviews"),
        "available": ("available", "in_stock", "is_in_stock", "availability", "published", "active", "status",
                      "verfugbar", "verfuegbar", "lieferbar", "auf_lager"),
        "image_url": (
            "image_url", "image_link", "image_src", "image", "images", "picture_url", "thumbnail_url", "base_image_url",
        ),
    },
    "users": {
        "user_id": (
            "user_id", "userid", "customer_id", "id", "kundennummer", "kunden_nr", "kundennr", "kunden_id", "kunde",
            "email", "customer_email", "visitor_id", "member_id",
        ),
        "age": ("age", "alter"),
        "gender": ("gender", "sex", "geschlecht"),
        "location": ("location", "city", "country", "region", "default_address_city", "zip", "zip_code", "postal_code",
                     "ort", "stadt", "land", "plz"),
        "join_date": ("join_date", "created_at", "registered_at", "signup_date", "date_created", "date_registered",
                      "registriert_am", "kunde_seit"),
    },
}  # fmt: skip
"""Canonical table -> column -> names it has in exports, best first; compared as `rows.normalise` does."""
