"""The database of a service like the original one: a table by SQLAlchemy, hashes by passlib.

    python original.py data.db 10000 < users.json

Reads users and their passwords as a JSON object, and adds the given number of invented users with cheap hashes.
"""

import json
import sys

from passlib.hash import pbkdf2_sha256
from sqlalchemy import String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class UserModel(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(80), unique=True)
    password: Mapped[str] = mapped_column(String(80))


file, count = sys.argv[1], int(sys.argv[2])
engine = create_engine(f"sqlite:///{file}")
Base.metadata.create_all(engine)
cheap = pbkdf2_sha256.using(rounds=1)
with Session(engine) as session:
    for username, password in json.load(sys.stdin).items():
        session.add(UserModel(username=username, password=pbkdf2_sha256.hash(password)))
    for number in range(count):
        session.add(UserModel(username=f"user-{number}", password=cheap.hash(f"password of {number}")))
    session.commit()
