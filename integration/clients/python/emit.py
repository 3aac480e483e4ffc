"""Emits from Python, through SQL, in the transactions that make the changes: emit.py DSN SCHEMA."""
import sys

import psycopg2
from psycopg2.extras import Json

dsn, schema = sys.argv[1:]
connection = psycopg2.connect(dsn, options=f"-c search_path={schema}")


def order(cursor, number):
    cursor.execute("insert into orders (id) values (%s)", (number,))
    cursor.execute("select emit('orders', 'order', %s)", (Json({"id": number}),))


with connection, connection.cursor() as cursor:
    cursor.execute("create table orders (id int primary key)")
    order(cursor, 1)

try:
    with connection, connection.cursor() as cursor:
        order(cursor, 2)
        order(cursor, 1)  # there is one
except psycopg2.errors.UniqueViolation:
    print("taken back")

with connection, connection.cursor() as cursor:
    order(cursor, 3)
    cursor.execute("select emit('orders', 'photo', %s, attachments => array[%s])", (Json(3), b"\x00\x01\xff"))
