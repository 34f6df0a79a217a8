// SPDX-License-Identifier: Apache-2.0
#include "recovery/last_endpoint.hpp"

#include "recovery/recovery.hpp"
#include "standin/endpoints.hpp"

#include <algorithm>

namespace fallbackd::recovery {

namespace {

using namespace std::chrono_literals;

constexpr auto kAskAgain = 1s;
constexpr auto kAnswer = 1s;  // the API server has half a second

std::string whyOf(const standin::EndpointFacts& facts) {
  const auto wanted = std::max(facts.wanted.value_or(0), facts.onNode + 1);
  return "its image can be pulled, but none of the other " + std::to_string(wanted - 1) +
         " pods of its workload is ready; it makes way once one is, or after 10 minutes";
}

}  // namespace

void LastEndpoint::reset() {
  since_.reset();
  askedAt_.reset();
  gaveUp_ = false;
  why_ = kAsks;
}

std::optional<std::string> LastEndpoint::mustStay() {
  if (!services_.endpoints || !services_.askEndpoints) return std::nullopt;
  const auto now = clock_.now();
  if (!since_) since_ = now;
  gaveUp_ = now - *since_ >= kLimit;
  if (gaveUp_) return std::nullopt;
  auto facts = services_.endpoints(podUid_);
  if (!facts) return std::nullopt;
  const bool isAnswered = askedAt_ && facts->asOf && *facts->asOf >= *askedAt_;
  if (!askedAt_ || (isAnswered && now - *askedAt_ >= kAskAgain)) return ask(now);
  if (!isAnswered) {
    if (now - *askedAt_ < kAnswer) return why_;
    // What it said before may not be true any more.
    facts->wanted.reset();
    facts->ownerReady.reset();
  }
  if (!standin::isLastEndpoint(*facts)) return std::nullopt;
  why_ = whyOf(*facts);
  return isAnswered ? why_ : ask(now);
}

std::string LastEndpoint::ask(Stamp now) {
  askedAt_ = now;
  services_.askEndpoints(podUid_);
  return why_;
}

}  // namespace fallbackd::recovery
