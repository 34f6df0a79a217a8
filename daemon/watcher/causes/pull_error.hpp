// SPDX-License-Identifier: Apache-2.0
// Reads the text of a failed PullImage. The text is a chain of wrapped errors: operations of containerd, then
// errors of Go's libraries. The operation and the innermost error decide. What a registry or a pod's author
// wrote never does: quoted strings, URLs, the reference, headers and server messages are taken out first.
#pragma once

#include "domain/cause.hpp"
#include "watcher/causes/operation.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::watcher {

/// What the error shows to have failed.
enum class Extent : std::uint8_t {
  registry,   // the registry, or the service that gives out its tokens
  one_image,  // perhaps only a host from which this image gets its layers
};

struct PullError {
  Operation operation = Operation::none;  // the innermost
  Place place = Place::unknown;           // where the fault lies
  std::optional<Cause> cause;             // empty: the text names none
  Extent extent = Extent::one_image;      // of a fault of the network
  bool undecided = false;                 // says nothing about the registry: ask again
  bool ofPull = false;                    // containerd wrote it about a pull, or a request was made
  std::string asked;                      // HOST:PORT of the innermost request; empty if it is not known
  std::string words;                      // the innermost error's
};

/// `reference` as it was sent to containerd; empty where it is not known.
PullError readPullError(std::string_view text, std::string_view reference);

/// "extract: WORDS", for a person.
std::string describe(const PullError& error);

}  // namespace fallbackd::watcher
