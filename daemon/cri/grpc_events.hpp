// SPDX-License-Identifier: Apache-2.0
// containerd's event stream as an EventSource.
#pragma once

#include "cri/runtime.hpp"

#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <grpcpp/grpcpp.h>

namespace fallbackd::cri {

std::unique_ptr<EventSource> makeEventSource(std::shared_ptr<grpc::Channel> channel,
                                             std::string containerdNamespace,
                                             boost::asio::any_io_executor executor);

}  // namespace fallbackd::cri
