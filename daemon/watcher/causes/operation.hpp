// SPDX-License-Identifier: Apache-2.0
// What containerd was doing when a pull failed. Only the operations that talk to a registry or to its token
// service can show an outage; everything else happens on this node.
#pragma once

#include <cstdint>
#include <string_view>

namespace fallbackd::watcher {

enum class Operation : std::uint8_t {
  none,             // the text does not say
  image_reference,  // the reference cannot be parsed
  configuration,    // hosts.toml, certificates, credentials of this node
  resolve,
  token,
  request,
  copy,
  unpack,  // surrounds both downloads and extraction
  commit,
  extract,
  snapshot,
  content_store,
  plugin,  // a gRPC service on this node: a remote snapshotter, a content store
  verifier,
  lock,
};

std::string_view toString(Operation operation);

enum class Place : std::uint8_t {
  unknown,
  registry,
  node,
};

/// `unpack` and `none` can be either: what is nested in them decides.
Place placeOf(Operation operation);

}  // namespace fallbackd::watcher
