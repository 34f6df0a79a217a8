// SPDX-License-Identifier: Apache-2.0
// Images that containerd can get from this node although their registry is down: the mirror, where it is on.
// On the loop.
#pragma once

#include "base/clock.hpp"
#include "cri/runtime.hpp"
#include "domain/image_reference.hpp"

#include <string>

namespace fallbackd::watcher {

class NodeImages {
 public:
  virtual ~NodeImages() = default;
  /// Whether a pull of it would succeed without its registry, as far as can be seen. Only a pull shows
  /// whether containerd really asks.
  virtual cri::Awaitable<bool> offers(ImageReference image) = 0;
  /// Whether a pull of `name` (ImageReference::toString()) was answered from here since then: such a pull
  /// says nothing about the registry.
  [[nodiscard]] virtual bool servedSince(const std::string& name, Stamp begin) const = 0;
};

}  // namespace fallbackd::watcher
