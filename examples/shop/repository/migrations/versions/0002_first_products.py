"""The products we opened with."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PRODUCTS = (
    (1, "Oak dining table", "Seats six, oiled oak", 64900),
    (2, "Birch side table", "Round, fits beside a sofa", 8900),
    (3, "Oak sofa", "Three seats, wool cover, oak legs", 129900),
    (4, "Corner sofa", "Five seats, washable linen cover", 189900),
    (5, "Armchair", "High back, wool cover", 44900),
    (6, "Dining chair", "Beech, stackable", 7900),
    (7, "Desk lamp", "Jointed arm, warm light", 5900),
    (8, "Floor lamp", "Linen shade, 160 cm", 12900),
    (9, "Pendant lamp", "Blown glass, for above a table", 9900),
    (10, "Bookcase", "Five shelves, birch", 24900),
    (11, "Wall shelf", "Oak, 80 cm, hidden brackets", 4900),
    (12, "Writing desk", "Two drawers, birch", 34900),
    (13, "Wardrobe", "Two doors, 100 cm", 59900),
    (14, "Bed frame", "Pine, 160 by 200 cm", 39900),
    (15, "Mattress", "Medium, 160 by 200 cm", 49900),
    (16, "Wool rug", "Hand woven, 170 by 240 cm", 27900),
    (17, "Linen curtain", "Pair, 250 cm long", 6900),
    (18, "Cushion", "Feather, 50 by 50 cm", 2450),
    (19, "Mirror", "Oak frame, 60 by 90 cm", 11900),
    (20, "Coat stand", "Beech, eight hooks", 6450),
)

products = sa.table(
    "products",
    sa.column("id", sa.Integer),
    sa.column("name", sa.String),
    sa.column("description", sa.Text),
    sa.column("price_cents", sa.Integer),
)


def upgrade() -> None:
    keys = ("id", "name", "description", "price_cents")
    op.bulk_insert(products, [dict(zip(keys, row, strict=True)) for row in PRODUCTS])


def downgrade() -> None:
    op.execute(products.delete().where(products.c.id.in_([row[0] for row in PRODUCTS])))
