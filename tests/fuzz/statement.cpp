// SPDX-License-Identifier: Apache-2.0
// The payload after its verification: still written by others.
#include "base/strings.hpp"
#include "cache/attestation.hpp"
#include "fuzz.hpp"

using namespace fallbackd;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto statement = cache::parseStatement(fuzz::text(data, size), "it");
  if (!statement) return 0;
  fuzz::demand(isSha256(statement->digest), "the digest is valid");
  fuzz::demand(parseBinaryRef(statement->ref.toString()).has_value(), "the name is valid");
  const auto again = cache::parseStatement(cache::writeStatement(*statement), "again");
  fuzz::demand(again.has_value(), "we can read what we write");
  fuzz::demand(again->ref == statement->ref && again->digest == statement->digest &&
                   again->os == statement->os && again->arch == statement->arch &&
                   again->expires == statement->expires &&
                   again->minimumVersion == statement->minimumVersion &&
                   again->namespaces == statement->namespaces && again->image == statement->image,
               "and it is the same statement");
  return 0;
}
