"""Asks an engine, in the current folder, and prints the last answer as JSON.

    query.py duckdb|clickhouse < statements.sql
"""

import json
import sys


def duckdb(statements):
    import duckdb

    connection = duckdb.connect()
    for statement in statements:
        answer = connection.execute(statement)
    return [column[0] for column in answer.description], answer.fetchall()


def clickhouse(statements):
    from chdb.session import Session

    session = Session()
    for statement in statements:
        answer = session.query(statement, "JSONCompact")
    answer = json.loads(str(answer))
    return [column["name"] for column in answer["meta"]], answer["data"]


engine = {"duckdb": duckdb, "clickhouse": clickhouse}[sys.argv[1]]
statements = [text for text in sys.stdin.read().split(";\n") if text.strip()]
names, rows = engine(statements)
json.dump({"names": names, "rows": rows}, sys.stdout, default=str)
