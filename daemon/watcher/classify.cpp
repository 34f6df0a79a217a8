// SPDX-License-Identifier: Apache-2.0
#include "watcher/classify.hpp"

namespace fallbackd::watcher {

namespace {

// gRPC's numbers, see grpc/status.h. This file stays free of gRPC.
constexpr int kCancelled = 1;
constexpr int kDeadlineExceeded = 4;
constexpr int kNotFound = 5;
constexpr int kUnavailable = 14;

/// For a text that names no cause.
std::optional<Cause> causeOfCode(int code, const PullError& error) {
  // containerd 1.7.0 gives up on a silent peer with Canceled; nothing else cancels a pull that we still wait
  // for. Without a mention of the pull, containerd itself is ending.
  if (code == kCancelled && !error.ofPull) return std::nullopt;
  if (code == kCancelled || code == kDeadlineExceeded) return Cause::timeout;
  if (code == kNotFound && error.operation == Operation::resolve) return Cause::not_found;
  return Cause::unknown;
}

}  // namespace

std::optional<PullFailure> readFailure(const cri::PullOutcome& outcome, std::string_view reference,
                                       const std::set<std::string>& mirrors) {
  if (outcome.kind == cri::PullOutcome::Kind::cancelled) return std::nullopt;
  const auto error = readPullError(outcome.text, reference);
  if (error.undecided) return std::nullopt;
  // Our own connection to containerd broke, or it is not there: the registry was not asked.
  if (outcome.grpcCode == kUnavailable && !error.ofPull) return std::nullopt;
  const auto cause = error.cause ? error.cause : causeOfCode(outcome.grpcCode, error);
  if (!cause) return std::nullopt;
  if (*cause == Cause::unreachable && mirrors.contains(error.asked)) {
    return PullFailure{Cause::unknown, error.extent};
  }
  return PullFailure{*cause, error.extent};
}

std::optional<Cause> classify(const cri::PullOutcome& outcome, std::string_view reference) {
  const auto failure = readFailure(outcome, reference);
  return failure ? std::optional(failure->cause) : std::nullopt;
}

}  // namespace fallbackd::watcher
