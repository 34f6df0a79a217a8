// SPDX-License-Identifier: Apache-2.0
// Quantities of the Kubernetes API: 500m, 1.5Gi, 2e3. Held in billionths and rounded up, as the API does.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fallbackd::kube {

class ResourceQuantity {
 public:
  ResourceQuantity() = default;  // zero

  /// Empty if the API would not accept it, and for negative ones, which no resource has. A larger one than
  /// 2^63-1 is taken as that.
  static std::optional<ResourceQuantity> parse(std::string_view text);

  /// In whole units, rounded up.
  [[nodiscard]] std::int64_t units() const;
  /// In thousandths, rounded up.
  [[nodiscard]] std::int64_t thousandths() const;
  [[nodiscard]] bool isZero() const { return billionths_ == 0; }

  friend auto operator<=>(const ResourceQuantity&, const ResourceQuantity&) = default;

 private:
  using Wide = unsigned __int128;
  Wide billionths_ = 0;
};

}  // namespace fallbackd::kube
