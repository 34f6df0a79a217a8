// SPDX-License-Identifier: Apache-2.0
// Attestation files as found in the cache, before any signature is checked.
#include "cache/attestation.hpp"
#include "fuzz.hpp"

using namespace fallbackd;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto envelope = cache::parseEnvelope(fuzz::text(data, size), "it");
  if (!envelope) {
    fuzz::demand(envelope.error().stage == Stage::admission, "the stage is admission");
    return 0;
  }
  fuzz::demand(envelope->payloadType == cache::kPayloadType, "other payloads are refused");
  fuzz::demand(!envelope->payload.empty(), "the payload is not empty");
  fuzz::demand(!envelope->signatures.empty() && envelope->signatures.size() <= 16, "one to 16 signatures");
  return 0;
}
