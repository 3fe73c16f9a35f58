# The broker's image: static programs and root certificates, nothing else, so
# there is no base to pull and none to patch. `make image` puts the files
# together in .build/image and builds from there; it needs no docker command.
FROM scratch
COPY .build/image /
ENV PATH=/usr/bin \
    XDG_STATE_HOME=/var/lib
VOLUME /var/lib/loads
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/loads"]
# Inside a container the broker has to listen on more than loopback, and so
# needs a file of tokens: `loads token NAME` makes the lines of it.
CMD ["broker", "--listen", "0.0.0.0:8080", "--tokens", "/run/secrets/loads_tokens", "--db", "/var/lib/loads/loads.db"]
