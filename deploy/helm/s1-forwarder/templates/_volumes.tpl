{{/* Each source of pipeline files has its own directory below this one, so that files of the same name do not hide each other. */}}
{{- define "s1-forwarder.pipelinesDirectory" -}}
/etc/s1-forwarder/pipelines
{{- end -}}

{{- define "s1-forwarder.volumeMounts" -}}
{{- $pipelines := include "s1-forwarder.pipelinesDirectory" . -}}
{{- range .Values.pipelines.configMaps }}
- { name: pipelines-configmap-{{ . }}, mountPath: {{ $pipelines }}/configmap-{{ . }}, readOnly: true }
{{- end }}
{{- range .Values.pipelines.secrets }}
- { name: pipelines-secret-{{ . }}, mountPath: {{ $pipelines }}/secret-{{ . }}, readOnly: true }
{{- end }}
{{- if .Values.pipelines.inline }}
- { name: pipelines-inline, mountPath: {{ $pipelines }}/inline, readOnly: true }
{{- end }}
{{- if .Values.pipelines.defaults }}
- { name: defaults, mountPath: /etc/s1-forwarder/defaults, readOnly: true }
{{- end }}
{{- if .Values.web.existingSecret }}
- { name: web, mountPath: /etc/s1-forwarder/web, readOnly: true }
{{- end }}
{{- range .Values.credentials }}
- { name: credentials-{{ . }}, mountPath: /run/secrets/{{ . }}, readOnly: true }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "s1-forwarder.volumes" -}}
{{- range .Values.pipelines.configMaps }}
- name: pipelines-configmap-{{ . }}
  configMap: { name: {{ . }} }
{{- end }}
{{- range .Values.pipelines.secrets }}
- name: pipelines-secret-{{ . }}
  secret: { secretName: {{ . }} }
{{- end }}
{{- if .Values.pipelines.inline }}
- name: pipelines-inline
  secret: { secretName: {{ include "s1-forwarder.fullname" . }}-pipelines }
{{- end }}
{{- if .Values.pipelines.defaults }}
- name: defaults
  secret: { secretName: {{ include "s1-forwarder.fullname" . }}-defaults }
{{- end }}
{{- with .Values.web.existingSecret }}
- name: web
  secret: { secretName: {{ . }} }
{{- end }}
{{- range .Values.credentials }}
- name: credentials-{{ . }}
  secret: { secretName: {{ . }} }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
