// SPDX-License-Identifier: Apache-2.0
#include "spawner/wire.hpp"

namespace fallbackd::launcher {

void WireWriter::text(std::string_view value) {
  number(static_cast<std::uint32_t>(value.size()));
  bytes_.append(value);
}

void WireWriter::texts(const std::vector<std::string>& values) {
  number(static_cast<std::uint32_t>(values.size()));
  for (const auto& value : values) text(value);
}

std::string_view WireReader::take(std::size_t size) {
  if (!ok_ || size > rest_.size()) {
    ok_ = false;
    return {};
  }
  const auto taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

std::string WireReader::text() {
  const auto size = number<std::uint32_t>();
  return std::string(take(size));
}

std::size_t WireReader::count(std::size_t maxCount) {
  const auto counted = number<std::uint32_t>();
  if (counted > maxCount || counted > rest_.size()) ok_ = false;
  return ok_ ? counted : 0;
}

std::vector<std::string> WireReader::texts(std::size_t maxCount) {
  std::vector<std::string> values;
  const auto counted = count(maxCount);
  values.reserve(counted);
  for (std::size_t i = 0; i < counted && ok_; ++i) values.push_back(text());
  return values;
}

}  // namespace fallbackd::launcher
