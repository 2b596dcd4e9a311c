# SPDX-License-Identifier: Apache-2.0
# Two stages: one with compilers that builds, one with shared libraries that
# runs. Each stage's step is a script, so that it can be tried without Docker.
FROM debian:trixie-slim AS build
WORKDIR /src
COPY . .
RUN script/image-build /out

FROM debian:trixie-slim
COPY script/image-install /tmp/
COPY --from=build /out/tallyd /usr/local/bin/
RUN /tmp/image-install && rm /tmp/image-install
USER tallyd
WORKDIR /var/lib/tallyd
ENV SQLITE_DIR_PATH=/var/lib/tallyd/db
VOLUME /var/lib/tallyd
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tallyd"]
