# The mail system in a container; svscan is its first process.
#
#   docker build -t qmail-rs .
#   docker run -d --stop-timeout 130 -e HOST=mail.example.org -p 25:25 -p 110:110 -v mail:/var/qmail/mail -v queue:/var/qmail/queue \
#     -v users:/var/qmail/users -v control:/var/qmail/control -v alias:/var/qmail/alias qmail-rs
#
# Deliveries under way have a minute to end in when it is stopped; with Docker's usual ten seconds a letter may
# come twice.
# The home is made, or completed, when a container starts: a password that an image has is everybody's.
# The first account's password: docker exec … cat /var/qmail/account
# POP3 passwords cross the wire in clear: let 110 out of the host only behind something with TLS.

FROM rust:1.95-slim AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --target "$(rustc -vV | sed -n 's/^host: //p')" \
      --config "build.rustflags=['-Ctarget-feature=+crt-static']" \
      --package qmail --package qmail-net --package daemontools --package qmail-admin \
 && mkdir /stage && cp -r man /stage/man \
 && cp target/*/release/qmail target/*/release/qmail-net target/*/release/daemontools \
      target/*/release/qmail-admin /stage/ \
 && strip /stage/qmail /stage/qmail-net /stage/daemontools /stage/qmail-admin

FROM debian:stable-slim
ENV HOST=mail.example.org
COPY --from=build /stage /usr/lib/qmail-rs
VOLUME ["/var/qmail/alias", "/var/qmail/control", "/var/qmail/mail", "/var/qmail/queue", "/var/qmail/users", "/var/qmail/log"]
EXPOSE 25 110
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=20s CMD ["/var/qmail/bin/qmailctl", "stat"]
ENTRYPOINT ["/bin/sh", "-c", "/usr/lib/qmail-rs/qmail-admin qmailctl install --boot none --host \"$HOST\" --pop3 0.0.0.0:110 && exec /var/qmail/bin/svscan /var/qmail/service"]
