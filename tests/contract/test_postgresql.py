"""What holds for PostgreSQL only."""

from sqlalchemy import create_engine, text

from storage.database import connect


def test_a_commit_survives_a_power_cut_even_where_the_server_is_set_up_otherwise(postgresql: str):
    server = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE hasty"))
        connection.execute(text("ALTER DATABASE hasty SET synchronous_commit = off"))
    address = server.url.set(database="hasty").render_as_string(hide_password=False)
    server.dispose()

    database = connect(address)

    with database.writing() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    database.close()
