// SPDX-License-Identifier: Apache-2.0
// HTTP statuses as causes, and the reason phrases with which proxies refuse a CONNECT.
#pragma once

#include "watcher/causes/texts.hpp"

#include <optional>
#include <string_view>

namespace fallbackd::watcher {

/// The three digits at the beginning of `text`.
std::optional<int> statusAt(std::string_view text);

Effect effectOfStatus(int status, Operation operation);

/// net/http drops the number of a proxy's answer to CONNECT and keeps the phrase: the number that the whole
/// of `phrase` stands for.
std::optional<int> statusOfPhrase(std::string_view phrase);

/// Whether a registry's own error follows on this line: containerd prints its code, then its message.
bool beginsServerError(std::string_view line);

}  // namespace fallbackd::watcher
