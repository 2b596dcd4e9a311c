# SPDX-License-Identifier: Apache-2.0
"""The scenarios: what each asks of the load generator (build/bench/load), and
which figures of build/bench/limits stand beside it."""
import dataclasses

USERS = 64
# So many records are there before the scenarios of a full store begin, of
# users of which each scenario and each of its limits takes its own.
FULL_RECORDS = 1_000_000
FULL_USERS = 4 * USERS
FULL_EACH = FULL_RECORDS // FULL_USERS
# Listeners that only sit there, of users that nobody writes for.
CROWD = 10_000
CROWD_USERS = 1_000
CROWD_FIRST_USER = 1_000_000
# One user's page of 3.5 MiB: 55 records as large as they may be.
PAGE_RECORDS = 55
PAGE_DATA = 65536


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    kind: str              # of the load generator
    callers: int = 64
    requests: int = 20_000
    options: tuple = ()    # further ones of the load generator
    # 'recover', also 'store' for writes that are grouped, and 'list' for lists
    # of all `records`; None for listeners.
    limit: str = 'recover'
    records: int = 0
    data: int = 256
    users: int = USERS
    listeners: int = 0
    full: bool = False     # a million records are there
    crowd: int = 0         # so many listeners idle meanwhile
    first_user: int = 0
    curve: str = ''        # the picture's line that it is a point of
    half_rate_of: str = ''  # open loop, at half of what that scenario reached
    seconds: float = 20    # at most
    # Where it runs unless told otherwise.
    stores: tuple = ('sqlite',)
    transports: tuple = ('plain',)

    def scaled_listeners(self, scale):
        return self.listeners and max(int(self.listeners * scale), 10)

    def arguments(self, scale):
        """For the load generator; `scale` is the share of the usual amount."""
        requests = max(int(self.requests * scale), 2 * self.callers, 20)
        listeners, users = self.scaled_listeners(scale), self.users
        if listeners:
            users = min(users, listeners)
        return [self.kind, '--callers', str(self.callers),
                '--requests', str(requests), '--users', str(users),
                '--listeners', str(max(listeners, 1)),
                '--data-bytes', str(self.data), '--seconds',
                str(self.seconds), '--first-user', str(self.first_user),
                *self.options]


BOTH = ('sqlite', 'postgres')
# Rates at one caller are a tenth of those at many, hence fewer requests.
AMOUNT = {1: 2_000, 8: 8_000, 64: 20_000, 256: 20_000}


def by_callers():
    """The points of the pictures."""
    for callers, amount in AMOUNT.items():
        yield Scenario(
            f'set-{callers}', f'SetRecord, new ids, {callers} callers',
            'set-new', callers, amount, limit='store', curve='SetRecord',
            stores=BOTH, transports=('plain', 'tls', 'web')
            if callers == 64 else ('plain',))
    for callers, amount in AMOUNT.items():
        yield Scenario(
            f'list-100-{callers}',
            f'ListChanges, 100 records, {callers} callers', 'list', callers,
            amount // 2, ('--records', '100'), limit='list', records=100,
            curve='ListChanges of 100',
            stores=BOTH, transports=('plain', 'tls')
            if callers == 64 else ('plain',))
    for callers, amount in AMOUNT.items():
        yield Scenario(
            f'get-lock-{callers}', f'GetLock, {callers} callers', 'get-lock',
            callers, amount, curve='GetLock', stores=BOTH,
            transports=('plain', 'tls', 'web')
            if callers == 64 else ('plain',))


def others():
    yield Scenario('set-one-user', 'SetRecord, one user, 64 callers',
                   'set-new', users=1, limit='store', stores=BOTH)
    yield Scenario('set-update', 'SetRecord, updates, 64 callers',
                   'set-update', limit='store', stores=BOTH)
    yield Scenario('set-16k', 'SetRecord, 16 KiB, 64 callers', 'set-new',
                   requests=4_000, data=16384, limit='store', stores=BOTH)
    yield Scenario('list-empty', 'ListChanges, none, 64 callers', 'list',
                   options=('--records', '100', '--find', '0'), stores=BOTH)
    yield Scenario('list-1', 'ListChanges, 1 record, 64 callers', 'list',
                   options=('--records', '100', '--find', '1'), stores=BOTH)
    yield Scenario('list-page', 'ListChanges, 3.4 MiB, 8 callers', 'list',
                   callers=8, requests=400, users=4, data=PAGE_DATA,
                   options=('--records', str(PAGE_RECORDS)), stores=BOTH)
    yield Scenario('set-lock', 'SetLock, 64 callers', 'set-lock', stores=BOTH)
    yield Scenario('mixed', '70 % list (10), 25 % set, 5 % lock, 64 callers',
                   'mixed', options=('--records', '10'), stores=BOTH)
    yield Scenario('mixed-open', 'the same at half that rate, open loop',
                   'mixed', options=('--records', '10'), stores=BOTH,
                   half_rate_of='mixed')
    yield Scenario('full-set', 'SetRecord, 1 million records there, 64 callers',
                   'set-new', limit='store', full=True, stores=BOTH,
                   options=('--records', str(FULL_EACH), '--stored'))
    yield Scenario('crowd-get-lock', 'GetLock beside 10,000 idle listeners',
                   'get-lock', crowd=CROWD)
    yield Scenario('crowd-set', 'SetRecord beside 10,000 idle listeners',
                   'set-new', limit='store', crowd=CROWD)
    yield Scenario('full-list-100',
                   'ListChanges, 100 of 1 million records, 64 callers', 'list',
                   requests=10_000, full=True, first_user=3 * USERS,
                   stores=BOTH, options=('--records', str(FULL_EACH),
                                         '--find', '100', '--stored'))


def listeners():
    def of(name, title, kind, count, users, **more):
        return Scenario(name, title, kind, 1, limit=None, users=users,
                        listeners=count, **more)

    yield of('fanout-one', '1,000 listeners of one user are told', 'fanout',
             1000, 1, requests=300)
    yield of('fanout-many', 'each of 1,000 users has a listener, is told',
             'fanout', 1000, 1000, requests=1500)
    yield of('idle', '10,000 idle listeners', 'idle', 10_000, 1000, seconds=5)
    yield of('idle-ping', '10,000 idle listeners, a ping every 5 s', 'idle',
             10_000, 1000, seconds=15, options=('--ping-seconds', '5'))
    yield of('idle-tls', '2,000 idle listeners over TLS', 'idle', 2_000, 1000,
             seconds=3, transports=('tls',))
    yield of('storm', '5,000 listeners come back at once', 'storm', 5_000,
             1000)


ALL = [*by_callers(), *others(), *listeners()]
