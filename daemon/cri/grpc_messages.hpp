// SPDX-License-Identifier: Apache-2.0
// Converts containerd's messages to our types.
#pragma once

#include "base/clock.hpp"
#include "content.pb.h"
#include "cri/types.hpp"
#include "runtime.pb.h"

#include <optional>
#include <string>

namespace fallbackd::cri {

Labels toLabels(const google::protobuf::Map<std::string, std::string>& map);
Sandbox toSandbox(const ::runtime::v1::PodSandbox& item);
Sandbox toSandbox(const ::runtime::v1::PodSandboxStatus& status);
Container toContainer(const ::runtime::v1::Container& item);
NamespaceMode toMode(::runtime::v1::NamespaceMode mode);
std::optional<Wall::time_point> toTime(const google::protobuf::Timestamp& time);
/// `sourceLabel` names the label with the repositories that the content came from.
Content toContent(const ::containerd::services::content::v1::Info& info, const std::string& sourceLabel);

}  // namespace fallbackd::cri
