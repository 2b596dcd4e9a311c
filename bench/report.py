# SPDX-License-Identifier: Apache-2.0
"""Rows of figures as a table, as JSON and as pictures."""
import datetime
import json
import os
import platform
import shutil
import subprocess

HEAD = (f'{"scenario":15} {"store":8} {"over":5} {"per s":>7} {"p50":>7} '
        f'{"p90":>7} {"p99":>7} {"p99.9":>7} {"bad":>4} {"CPU":>6} '
        f'{"limit":>6} {"ratio":>5} {"batch":>5} {"writer":>6} {"cores":>5} '
        f'{"peak":>6} '
        f'{"written":>8}')
UNITS = ('latencies in ms; CPU and limit in µs a call; ratio is CPU / limit; '
         'batch: writes in a transaction; writer: share of the rate that the '
         'store reaches in process, without recovery, with such batches; '
         'cores: that server and load generator kept busy; peak RSS in MiB; '
         'written: bytes a call')


def rate(row):
    return row['good'] / (row['took_us'] / 1e6) if row['took_us'] else 0


def cpu(row):
    """Of the server, in µs a call; None when it was not looked at."""
    server = row.get('server')
    return server['cpu_us'] / row['good'] if server and row['good'] else None


def limit(row):
    """What a call cannot cost less than, in µs of CPU."""
    if row['store'] == 'sqlite' and 'in_process' in row:
        return row['in_process']['cpu_us']
    return row.get('recover_us')


def cores(row):
    """That were busy with server and load generator, on average."""
    server = row.get('server')
    if not server or not row['took_us']:
        return None
    return (server['cpu_us'] + row['own_cpu_us']) / row['took_us']


def latency(row, share):
    return row.get('latency_us', {}).get(share)


def number(value, digits=0, width=7):
    text = '-' if value is None else f'{value:.{digits}f}'
    return f'{text:>{width}}'


def ms(value):
    return None if value is None else value / 1000


def line(row):
    server, used, least = row.get('server'), cpu(row), limit(row)
    calls = bool(row.get('latency_us'))
    # PostgreSQL's writers are its own processes.
    alone = row.get('writer_alone') if row['store'] == 'sqlite' else None
    cells = [
        f'{row["scenario"]:15}', f'{row["store"]:8}', f'{row["transport"]:5}',
        number(rate(row) if calls else None),
        *[number(ms(latency(row, share)), 2)
          for share in ('p50', 'p90', 'p99', 'p99.9')],
        number(row['bad'], 0, 4), number(used if calls else None, 1, 6),
        number(least, 1, 6),
        number(used / least if used and least else None, 2, 5),
        number(row.get('batch'), 1, 5),
        number(rate(row) / alone['rate'] if alone else None, 2, 6),
        number(cores(row), 1, 5),
        number(server and server['peak'] / 2**20, 1, 6),
        number(server and calls and row['good'] and
               server['written_bytes'] / row['good'], 0, 8),
    ]
    return '\n'.join([' '.join(cells), *notes(row)])


def notes(row):
    """What a scenario has to say beyond the columns."""
    server = row.get('server')
    if 'disk' in row:
        floor = row['recover_us'] + row['disk']['p50_us']
        yield (f'    p50 is {latency(row, "p50") - floor:.0f} µs over recovery'
               f' + one fdatasync ({floor:.0f} µs); in process, without a '
               f'network, a call takes {1e6 / row["in_process"]["rate"]:.0f}'
               f' µs')
    if 'list_in_process' in row:
        yield (f'    in process, without a network: '
               f'{row["list_in_process"]["cpu_us"]:.1f} µs of CPU')
    if 'wakes_us' in row:
        yield (f'    told after the write was sent: p50 '
               f'{row["wakes_us"]["p50"] / 1000:.2f} ms, p99 '
               f'{row["wakes_us"]["p99"] / 1000:.2f} ms; the last one after '
               f'its answer: p50 {row["last_us"]["p50"] / 1000:.2f} ms, p99 '
               f'{row["last_us"]["p99"] / 1000:.2f} ms')
    if 'floor' in row:
        yield (f'    so many sockets written to and read, nothing else: p50 '
               f'{row["floor"]["p50_us"] / 1000:.2f} ms, p99 '
               f'{row["floor"]["p99_us"] / 1000:.2f} ms')
    if row['scenario'].startswith('idle') and server:
        count = row['good']
        each = (server['rss_before'] - server['rss_idle']) / count / 1024
        share = server['cpu_us'] / row['took_us'] * 100
        yield (f'    {count} listeners: {each:.1f} KiB of RSS each; '
               f'{share:.1f} % of one core')
    if row['scenario'] == 'storm':
        yield (f'    {row["good"]} greeted within '
               f'{row["took_us"] / 1e6:.2f} s')


def machine():
    model = 'unknown'
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        for text in file:
            if text.startswith('model name'):
                model = text.split(':', 1)[1].strip()
                break
    system = platform.freedesktop_os_release().get('PRETTY_NAME', '')
    return {'date': datetime.date.today().isoformat(), 'cpu': model,
            'cores': os.cpu_count(), 'kernel': platform.release(),
            'system': system}


def describe():
    about = machine()
    return (f'{about["date"]}, {about["cores"]} cores of {about["cpu"]}, '
            f'{about["system"]}, Linux {about["kernel"]}')


PLOT = """set terminal svg size 860,440 font 'sans-serif,13' background 'white'
set output '{output}'
set logscale x 4
set xtics (1, 8, 64, 256)
set xrange [0.8:320]
set yrange [{lowest}:*]
{scale}set grid
set key outside right top Left reverse
set xlabel 'callers'
set ylabel '{label}'
set title '{title}'
plot {lines}
"""


def draw(path, title, label, logarithmic, groups):
    """`groups`: for each dash type lines (name, [(callers, value), …]); a line
    has the same colour in each. gnuplot reads the data in line."""
    data, plots = '', []
    for dash, lines in enumerate(groups, 1):
        for colour, (name, points) in enumerate(lines, 1):
            block = f'$data{dash}x{colour}'
            data += f'{block} << EOD\n' + ''.join(
                f'{callers} {value}\n' for callers, value in points) + 'EOD\n'
            plots.append(f"{block} using 1:2 with linespoints lw 2 lc {colour} "
                         f"pt 7 ps 0.5 dt {dash} title '{name}'")
    text = data + PLOT.format(
        output=path, lowest='*' if logarithmic else 0, label=label,
        scale='set logscale y\n' if logarithmic else '', title=title,
        lines=', '.join(plots))
    subprocess.run(['gnuplot'], input=text, text=True, check=True)


def curves(rows, value, what=''):
    """Lines of what was measured at two numbers of callers or more."""
    lines = {}
    for row in rows:
        if row['curve'] and row['transport'] == 'plain':
            name = f'{row["curve"]}, {row["store"]}{what}'
            lines.setdefault(name, []).append((row['callers'], value(row)))
    return [(name, sorted(points)) for name, points in lines.items()
            if len(points) > 1]


def write(directory, rows):
    if not rows:
        return
    os.makedirs(directory, exist_ok=True)

    def path(name):
        return os.path.join(directory, name)
    with open(path('bench.json'), 'w', encoding='utf-8') as file:
        json.dump({'machine': machine(), 'rows': rows}, file, indent=1)
        file.write('\n')
    with open(path('bench.txt'), 'w', encoding='utf-8') as file:
        file.write('\n'.join([describe(), '', HEAD, *map(line, rows), '',
                              UNITS]) + '\n')
    lines = curves(rows, rate)
    if lines and shutil.which('gnuplot'):
        draw(path('throughput.svg'), 'Throughput', 'calls per second', False,
             [lines])
        draw(path('latency.svg'), 'Latency: p50, and dashed p99',
             'milliseconds', True,
             [curves(rows, lambda row, share=share: ms(latency(row, share)),
                     what) for share, what in (('p50', ''), ('p99', ', p99'))])
    print(f'\n{UNITS}\n{describe()}\nWritten to {directory}')
