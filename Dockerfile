# The server: event log, read models, keyset and firmware store in /data; /state holds what must not go back with a backup of /data.
# By content: a registry that gives anything else is refused (docs/deploy.md). Another base: NODE_IMAGE in .env.
ARG NODE_IMAGE=node:24.21.0-bookworm-slim@sha256:0e0ff40c39bc087845bfb27465a0df4ea419520094bc35842ff83dd8cbe6f9b6
FROM ${NODE_IMAGE}
# The digest has to be that of the version beside it.
RUN test "$(node --version)" = v24.21.0
ENV NODE_ENV=production NUSEC_STATE_DIR=/state
WORKDIR /opt/nusec
COPY package.json package-lock.json LICENSE ./
# The image has a Node already; the one that npm brings for older machines goes.
RUN npm ci --omit=dev --no-audit --no-fund && rm -rf node_modules/node-linux-* && npm cache clean --force
COPY src ./src
COPY gateway-device ./gateway-device
COPY web ./web
COPY deploy/databaseUser.mjs deploy/objectBucket.mjs ./deploy/
RUN useradd --system --uid 10001 nusec && mkdir -m 700 /data /state && chown nusec /data /state
USER nusec
VOLUME /data /state
EXPOSE 8443 8883 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/healthz').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "src/cli/main.ts"]
CMD ["server", "--data", "/data", "--host", "0.0.0.0"]
