// SPDX-License-Identifier: Apache-2.0
// The payload, once it was verified: still written by somebody else.
#include "base/strings.hpp"
#include "cache/attestation.hpp"
#include "fuzz.hpp"

using namespace fallbackd;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto statement = cache::parseStatement(fuzz::text(data, size), "it");
  if (!statement) return 0;
  fuzz::demand(isSha256(statement->digest), "the digest is one");
  fuzz::demand(parseBinaryRef(statement->ref.toString()).has_value(), "the name is one");
  const auto again = cache::parseStatement(cache::writeStatement(*statement), "again");
  fuzz::demand(again.has_value(), "what we write we read");
  fuzz::demand(again->ref == statement->ref && again->digest == statement->digest &&
                   again->os == statement->os && again->arch == statement->arch &&
                   again->expires == statement->expires &&
                   again->minimumVersion == statement->minimumVersion &&
                   again->namespaces == statement->namespaces && again->image == statement->image,
               "and it says the same");
  return 0;
}
